#include "report/discard_note.h"

#include <fcntl.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/file_access.h"
#include "k8s/json_access.h"

namespace pgrejoin {
namespace {

constexpr int kSchemaVersion = 1;
constexpr uint64_t kToldMax = 2;
// All that a server changes is in them. Not the file's own CRC-32C, with which every such file
// comes to the same.
constexpr size_t kControlBytes = 256;

using nlohmann::json;

template <typename Number>
Number NumberAt(const json& object, const char* key) {
  const json& value = object.at(key);
  const bool fits =
      value.is_number_unsigned() && value.get<uint64_t>() <= std::numeric_limits<Number>::max();
  if (!fits) throw Error(ErrorKind::kTargetFailed, std::string(key) + " is no such number");
  return value.get<Number>();
}

}  // namespace

std::string DiscardNoteText(const DiscardNote& note) {
  const RewindResult& rewind = note.rewind;
  return DumpJson({{"schema", kSchemaVersion},
                   {"controlCrc", note.control_crc},
                   {"told", note.told},
                   {"reported", note.reported},
                   {"targetTimeline", rewind.target_timeline},
                   {"sourceTimeline", rewind.source_timeline},
                   {"forkLsn", rewind.fork_lsn.value},
                   {"targetEnd", rewind.target_end.value},
                   {"discardedTransactions", rewind.discarded_transactions},
                   {"discardedBytes", rewind.discarded_bytes},
                   {"discardedFrom", rewind.discarded_from},
                   {"discardedTo", rewind.discarded_to},
                   {"copiedBytes", rewind.bytes_copied}}) +
         "\n";
}

std::optional<DiscardNote> ParseDiscardNote(const std::string& text) {
  try {
    const json object = ParseJson(text, "note of what was discarded");
    if (NumberAt<uint64_t>(object, "schema") != kSchemaVersion) return std::nullopt;
    DiscardNote note;
    note.control_crc = NumberAt<uint32_t>(object, "controlCrc");
    note.told = NumberAt<uint64_t>(object, "told");
    note.reported = object.at("reported").get<bool>();
    RewindResult& rewind = note.rewind;
    rewind.outcome = RewindOutcome::kRewound;
    rewind.target_timeline = NumberAt<TimelineId>(object, "targetTimeline");
    rewind.source_timeline = NumberAt<TimelineId>(object, "sourceTimeline");
    rewind.fork_lsn = {NumberAt<uint64_t>(object, "forkLsn")};
    rewind.target_end = {NumberAt<uint64_t>(object, "targetEnd")};
    rewind.discarded_transactions = NumberAt<uint64_t>(object, "discardedTransactions");
    rewind.discarded_bytes = NumberAt<uint64_t>(object, "discardedBytes");
    rewind.discarded_from = object.at("discardedFrom").get<std::string>();
    rewind.discarded_to = object.at("discardedTo").get<std::string>();
    rewind.bytes_copied = NumberAt<uint64_t>(object, "copiedBytes");
    return note;
  } catch (const json::exception&) {
    return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

uint32_t ControlCrc(const std::string& pgdata) {
  const std::string path = pgdata + "/global/pg_control";
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  std::array<std::byte, kControlBytes> control{};
  if (!file.valid() || !ReadAt(file, 0, control)) {
    throw Error(ErrorKind::kTargetFailed, "could not read \"" + path + "\"");
  }
  return ComputeCrc32c(control);
}

bool IsToBeTold(const DiscardNote& note, uint32_t control_crc) {
  const bool server_ran = note.control_crc != control_crc;
  return !server_ran || (!note.reported && note.told < kToldMax);
}

bool IsSameRewind(const RewindResult& one, const RewindResult& other) {
  return one.target_timeline == other.target_timeline && one.target_end == other.target_end;
}

RewindResult Sum(const RewindResult& earlier, RewindResult later) {
  later.discarded_transactions += earlier.discarded_transactions;
  later.discarded_bytes += earlier.discarded_bytes;
  if (!earlier.discarded_from.empty()) {
    later.discarded_from = earlier.discarded_from;
    if (later.discarded_to.empty()) later.discarded_to = earlier.discarded_to;
  }
  return later;
}

}  // namespace pgrejoin
