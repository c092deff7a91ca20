// Connection strings: no password is shown. Input: kind, text in which "@@" stands for the
// password.
#include <libpq-fe.h>

#include <memory>
#include <vector>

#include "fuzz/fuzz.h"
#include "source/libpq_source.h"

namespace pgrejoin::fuzz {
namespace {

// Not to be made by an escape: "\\xdc" and "AnArY" had been taken for it.
constexpr const char* kCanary = "zAnArY7f3q";

using Options = std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)>;

// Where libpq finds the canary.
struct Whereabouts {
  bool valid = false;
  bool in_secret = false;
  bool elsewhere = false;
};

Whereabouts Find(const std::string& conninfo) {
  char* problem = nullptr;
  const Options options(PQconninfoParse(conninfo.c_str(), &problem), PQconninfoFree);
  PQfreemem(problem);
  Whereabouts found;
  found.valid = options != nullptr;
  for (const PQconninfoOption* at = options.get(); at != nullptr && at->keyword != nullptr; ++at) {
    if (at->val == nullptr || std::string_view(at->val).find(kCanary) == std::string_view::npos) {
      continue;
    }
    const std::string_view keyword = at->keyword;
    (keyword == "password" || keyword == "sslpassword" ? found.in_secret : found.elsewhere) = true;
  }
  return found;
}

std::string WithCanary(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text.substr(at, 2) == "@@") {
      result += kCanary;
      ++at;
    } else if (text[at] != '\0') {
      result += text[at];
    }
  }
  return result;
}

// Values of the input, quoted by us, are what libpq reads again.
void CheckQuoting(Input input) {
  const char* const keywords[] = {"host",   "user", "dbname", "password", "application_name",
                                  "options"};
  std::vector<std::pair<std::string, std::string>> options;
  for (const char* keyword : keywords) options.emplace_back(keyword, WithCanary(input.TakeLine()));
  const std::string conninfo = BuildConninfo(options);
  const Options read(PQconninfoParse(conninfo.c_str(), nullptr), PQconninfoFree);
  Require(read != nullptr, "what is joined can be taken apart");
  for (const PQconninfoOption* at = read.get(); at->keyword != nullptr; ++at) {
    for (const auto& [keyword, value] : options) {
      if (keyword == at->keyword)
        Require(at->val != nullptr && value == at->val, "to the same values");
    }
  }
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const uint8_t kind = input.Take<uint8_t>() % 3;
  if (kind == 2) {
    CheckQuoting(input);
    return 0;
  }
  std::string conninfo = WithCanary(input.Rest());
  if (kind == 1) conninfo += " password=" + std::string(kCanary);
  const Whereabouts found = Find(conninfo);
  const std::string shown = RedactedConninfo(conninfo);
  Require(!HasControlCharacter(shown), "a connection string is shown in one line");
  if (found.elsewhere) return 0;  // somebody has a password for a name
  Require(shown.find(kCanary) == std::string::npos, "a password is not shown");
  Require(found.valid || shown == "(malformed connection string)", "nor what cannot be read");
  return 0;
}
