// What `pg-rejoin discover` shows: the evidence about who is primary, item by item, and the
// verdict. Values in, text out. Whoever fills it makes foreign texts printable.
//
// Lines, JSON and exit status: docs/reference/discovery.md.
#pragma once

#include <string>
#include <vector>

namespace pgrejoin {

struct DiscoveryReport {
  struct Member {
    std::string pod;
    std::string role;  // its label, which is no evidence on its own
    std::string says;  // by SQL
  };

  struct Right {
    std::string access;  // "patch pods/db-0"
    bool allowed = false;
    std::string without;  // what is lost when it is denied
  };

  std::string discovery;  // the preset
  std::string started_by;
  bool survives_restart = false;  // for certain, under that system's image
  bool proven_on_real_system = false;
  std::string authority;       // its state
  std::string authority_says;  // or why it cannot be read
  std::string freshness;
  std::string primary;  // who is named, "" = nobody
  std::string host;     // where it was asked
  std::string primary_state;
  std::string primary_says;
  std::vector<Member> members;  // others
  std::vector<Right> rights;    // empty: not asked for
  std::string verdict;
  int exit_status = 0;
};

std::string DiscoveryText(const DiscoveryReport& report);
std::string DiscoveryJson(const DiscoveryReport& report);

}  // namespace pgrejoin
