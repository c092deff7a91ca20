#include "k8s/json_access.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace pgrejoin {
namespace {

std::string MessageOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(JsonAccessTest, AbsentAndNullAreTheSame) {
  const auto json = ParseJson(R"({"a": {"b": null}, "l": [1], "t": true})", "test");
  EXPECT_EQ(StringAt(json, "a/b"), "");
  EXPECT_EQ(StringAt(json, "x/y/z"), "");
  EXPECT_TRUE(StringMapAt(json, "a/b").empty());
  EXPECT_TRUE(ArrayAt(json, "none").empty());
  EXPECT_EQ(ArrayAt(json, "l").size(), 1u);
  EXPECT_TRUE(BoolAt(json, "t", false));
  EXPECT_TRUE(BoolAt(json, "none", true));
}

TEST(JsonAccessTest, WrongTypesAreNamedByTheirPath) {
  const auto json = ParseJson(R"({"a": {"b": 5, "m": {"k": []}}, "s": "text"})", "test");
  EXPECT_NE(MessageOf([&] { StringAt(json, "a/b"); }).find("\"a/b\" is number"), std::string::npos);
  EXPECT_NE(MessageOf([&] { StringMapAt(json, "a/m"); }).find("\"a/m/k\" is array"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { StringAt(json, "s/x"); }).find("expected an object"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { ArrayAt(json, "s"); }).find("expected an array"), std::string::npos);
  EXPECT_NE(MessageOf([&] { BoolAt(json, "s", true); }).find("expected a boolean"),
            std::string::npos);
}

TEST(JsonAccessTest, BadTextIsAnErrorThatQuotesItsBeginning) {
  EXPECT_NE(MessageOf([] { ParseJson("{\"a\": \x01", "pod x"); }).find("pod x"), std::string::npos);
  EXPECT_NE(MessageOf([] { ParseJson("", "pod x"); }).find("0 bytes"), std::string::npos);
}

TEST(JsonAccessTest, DumpReplacesWhatIsNoUtf8) {
  EXPECT_EQ(DumpJson("a\xff"), "\"a\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace pgrejoin
