// The authority record. Input: lines "key=value" of a ConfigMap.
#include "fuzz/fuzz.h"
#include "topology/authority_record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  std::map<std::string, std::string> map;
  while (!input.empty()) {
    const std::string_view line = input.TakeLine();
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    map[std::string(line.substr(0, equals))] = line.substr(equals + 1);
  }
  AuthorityRecord record;
  if (!Accepts([&] { record = ParseAuthorityRecord(map); })) return 0;
  Require(!record.primary.empty() || (record.epoch == 0 && !record.system_identifier),
          "a damaged record is not an unclaimed one");
  Require(!record.approval || !record.approval->pod.empty(), "an approval names its pod");

  std::map<std::string, std::string> printed;
  for (const auto& [key, value] : AuthorityRecordToData(record)) {
    if (value) printed.emplace(key, *value);
  }
  Require(ParseAuthorityRecord(printed) == record, "what is written is read again");
  return 0;
}
