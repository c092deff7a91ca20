// What is wrong is looked at again and again, and said once.
#pragma once

#include <set>
#include <string>

namespace pgrejoin {

// Logs each problem as a warning when it comes up, and again only after a round without it.
class Complaints {
 public:
  void BeginRound();
  void Say(const std::string& problem);

 private:
  std::set<std::string> last_round_;
  std::set<std::string> this_round_;
};

}  // namespace pgrejoin
