#include "k8s/kube_object.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace pgrejoin {
namespace {

const char* const kLease = R"({"metadata":{"annotations":{
    "a.b/c~d":"x", "config":"{\"pause\":true,\"deep\":{\"n\":18446744073709551615}}", "bad":"{"}},
  "spec":{"holderIdentity":"db-1","leaseDurationSeconds":15,"gone":null,"list":[1]}})";

KubeObject Lease() { return KubeObject(kLease, "Lease db"); }

std::string ProblemAt(std::string_view pointer) {
  try {
    Lease().At(pointer);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    return error.message();
  }
  return {};
}

TEST(KubeObjectTest, ScalarsAreText) {
  EXPECT_EQ(Lease().At("/spec/holderIdentity"), "db-1");
  EXPECT_EQ(Lease().At("/spec/leaseDurationSeconds"), "15");
  EXPECT_EQ(Lease().what(), "Lease db");
}

TEST(KubeObjectTest, AbsentAndNullAreNoValue) {
  EXPECT_EQ(Lease().At("/spec/gone"), std::nullopt);
  EXPECT_EQ(Lease().At("/status/phase"), std::nullopt);
  EXPECT_EQ(Lease().At("/spec/none/of/this"), std::nullopt);
}

TEST(KubeObjectTest, KeysWithASlashAreEscaped) {
  EXPECT_EQ(Lease().At("/metadata/annotations/" + PointerToken("a.b/c~d")), "x");
  EXPECT_EQ(PointerToken("a.b/c~d"), "a.b~1c~0d");
}

TEST(KubeObjectTest, LeadsIntoADocumentInAString) {
  EXPECT_EQ(Lease().At("/metadata/annotations/config#/pause"), "true");
  EXPECT_EQ(Lease().At("/metadata/annotations/config#/deep/n"), "18446744073709551615");
  EXPECT_EQ(Lease().At("/metadata/annotations/none#/pause"), std::nullopt);
}

TEST(KubeObjectTest, WhatHasAnotherShapeIsNamed) {
  EXPECT_EQ(ProblemAt("/spec"),
            "Lease db: \"/spec\" is object, expected a string, number or boolean");
  EXPECT_EQ(ProblemAt("/spec/list/0"),
            "Lease db: \"/spec/list/0\" is array, expected an object on the way");
  EXPECT_EQ(ProblemAt("/spec/leaseDurationSeconds#/a"),
            "Lease db: \"/spec/leaseDurationSeconds\" is number, expected a string");
  EXPECT_NE(ProblemAt("/metadata/annotations/bad#/a").find("malformed JSON"), std::string::npos);
  EXPECT_THROW(KubeObject("{", "Lease db"), Error);
  EXPECT_THROW(KubeObject("[]", "Lease db").At("/spec"), Error);
}

// However deep a document is, reading it takes no stack.
TEST(KubeObjectTest, DepthIsNoDanger) {
  const std::string deep(200000, '[');
  EXPECT_THROW(KubeObject(deep, "Lease db"), Error);
  const KubeObject closed(deep + std::string(200000, ']'), "Lease db");
  EXPECT_THROW(closed.At("/spec"), Error);
}

}  // namespace
}  // namespace pgrejoin
