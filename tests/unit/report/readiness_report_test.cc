#include "report/readiness_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pgrejoin {
namespace {

Readiness Example() {
  Readiness readiness;
  readiness.rewindable = Rewindable::kNo;
  readiness.reason = "full_page_writes: off";
  readiness.checks = {{"version", CheckState::kOk, "PostgreSQL 17", ""},
                      {"full_page_writes", CheckState::kFailed, "off", "ALTER SYSTEM ...;"}};
  return readiness;
}

TEST(ReadinessReport, TableEndsInWhatToDo) {
  EXPECT_EQ(ReadinessTable(Example()),
            "CHECK                STATE    FOUND\n"
            "version              ok       PostgreSQL 17\n"
            "full_page_writes     failed   off\n"
            "\n"
            "rewindable: false\n"
            "\n"
            "to do:\n"
            "  full_page_writes: ALTER SYSTEM ...;\n");
  Readiness well = Example();
  well.rewindable = Rewindable::kYes;
  well.checks.pop_back();
  EXPECT_EQ(ReadinessTable(well).find("to do"), std::string::npos);
}

TEST(ReadinessReport, JsonSaysTheSame) {
  const auto report = nlohmann::json::parse(ReadinessJson(Example()));
  EXPECT_EQ(report["schema"], 1);
  EXPECT_EQ(report["rewindable"], "false");
  EXPECT_EQ(report["reason"], "full_page_writes: off");
  ASSERT_EQ(report["checks"].size(), 2U);
  EXPECT_EQ(report["checks"][0],
            (nlohmann::json{{"name", "version"}, {"state", "ok"}, {"found", "PostgreSQL 17"}}));
  EXPECT_EQ(report["checks"][1]["fix"], "ALTER SYSTEM ...;");
}

}  // namespace
}  // namespace pgrejoin
