#include "base/kill_point.h"

#ifdef PG_REJOIN_KILL_POINTS

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>

#include "base/check.h"

namespace pgrejoin {
namespace {

struct Armed {
  std::string name;
  int hits_left = 0;
};

Armed ReadEnvironment() {
  const char* value = std::getenv("PG_REJOIN_KILL_POINT");
  if (value == nullptr) return {};
  const std::string text = value;
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return {text, 1};
  return {text.substr(0, colon), std::atoi(text.c_str() + colon + 1)};
}

}  // namespace

void KillPoint(std::string_view name) {
  static const Armed armed = ReadEnvironment();
  static std::atomic<int> hits{0};
  Check(std::find(kKillPoints.begin(), kKillPoints.end(), name) != kKillPoints.end(),
        "the kill point is in the list");
  if (armed.name != name) return;
  if (++hits == armed.hits_left) {
    std::raise(SIGKILL);
  }
}

}  // namespace pgrejoin

#endif
