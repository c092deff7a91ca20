#include "report/readiness_report.h"

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>

namespace pgrejoin {
namespace {
constexpr int kSchemaVersion = 1;
}  // namespace

std::string ReadinessTable(const Readiness& readiness) {
  constexpr const char* kLine = "{:<20} {:<8} {}\n";
  std::string table = fmt::format(kLine, "CHECK", "STATE", "FOUND");
  std::string fixes;
  for (const ReadinessCheck& check : readiness.checks) {
    table += fmt::format(kLine, check.name, CheckStateName(check.state), check.text);
    if (!check.fix.empty()) fixes += fmt::format("  {}: {}\n", check.name, check.fix);
  }
  table += fmt::format("\nrewindable: {}\n", RewindableName(readiness.rewindable));
  if (!fixes.empty()) table += "\nto do:\n" + fixes;
  return table;
}

std::string ReadinessJson(const Readiness& readiness) {
  nlohmann::json checks = nlohmann::json::array();
  for (const ReadinessCheck& check : readiness.checks) {
    nlohmann::json entry = {
        {"name", check.name}, {"state", CheckStateName(check.state)}, {"found", check.text}};
    if (!check.fix.empty()) entry["fix"] = check.fix;
    checks.push_back(std::move(entry));
  }
  const nlohmann::json report = {{"schema", kSchemaVersion},
                                 {"rewindable", RewindableName(readiness.rewindable)},
                                 {"reason", readiness.reason},
                                 {"checks", std::move(checks)}};
  return report.dump(2, ' ', /*ensure_ascii=*/true) + "\n";
}

}  // namespace pgrejoin
