#include "base/complaints.h"

#include <utility>

#include "base/log.h"

namespace pgrejoin {

void Complaints::BeginRound() { last_round_ = std::exchange(this_round_, {}); }

void Complaints::Say(const std::string& problem) {
  const bool said = last_round_.contains(problem);
  if (this_round_.insert(problem).second && !said) LogWarning("{}", problem);
}

}  // namespace pgrejoin
