#include "report/discovery_report.h"

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>

#include "k8s/json_access.h"

namespace pgrejoin {
namespace {

constexpr int kSchemaVersion = 1;

}  // namespace

std::string DiscoveryText(const DiscoveryReport& report) {
  std::string text;
  const auto line = [&](const char* title, const std::string& what) {
    text += fmt::format("{:<11}{}\n", title, what);
  };
  line("discovery",
       fmt::format("{} (tested {}); the server is started by {}", report.discovery,
                   report.proven_on_real_system ? "with the real system" : "with its objects only",
                   report.started_by));
  if (!report.survives_restart) {
    line("", "whether a promoted replica survives its restart depends on the image");
  }
  line("authority", report.authority +
                        (report.authority_says.empty() ? "" : ": " + report.authority_says) + " [" +
                        report.freshness + "]");
  if (!report.primary.empty()) {
    line("primary", fmt::format("{} at {}: {}: {}", report.primary,
                                report.host.empty() ? "no address" : report.host,
                                report.primary_state, report.primary_says));
  }
  for (const DiscoveryReport::Member& member : report.members) {
    const std::string role = member.role.empty() ? "" : " (labelled " + member.role + ")";
    line("member", member.pod + role + ": " + member.says);
  }
  for (const DiscoveryReport::Right& right : report.rights) {
    line("right",
         right.access + (right.allowed ? ": yes" : ": DENIED: without it " + right.without));
  }
  line("verdict", report.verdict);
  return text;
}

std::string DiscoveryJson(const DiscoveryReport& report) {
  nlohmann::json members = nlohmann::json::array();
  for (const DiscoveryReport::Member& member : report.members) {
    members.push_back({{"pod", member.pod}, {"role", member.role}, {"says", member.says}});
  }
  nlohmann::json rights = nlohmann::json::array();
  for (const DiscoveryReport::Right& right : report.rights) {
    rights.push_back(
        {{"access", right.access}, {"allowed", right.allowed}, {"without", right.without}});
  }
  return DumpJson({{"schema", kSchemaVersion},
                   {"discovery", report.discovery},
                   {"startedBy", report.started_by},
                   {"survivesRestart", report.survives_restart},
                   {"provenOnRealSystem", report.proven_on_real_system},
                   {"authority", report.authority},
                   {"authoritySays", report.authority_says},
                   {"freshness", report.freshness},
                   {"primary", report.primary},
                   {"host", report.host},
                   {"primaryState", report.primary_state},
                   {"primarySays", report.primary_says},
                   {"members", members},
                   {"rights", rights},
                   {"verdict", report.verdict},
                   {"exitStatus", report.exit_status}}) +
         "\n";
}

}  // namespace pgrejoin
