#include "k8s/api_client.h"

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "unit/k8s/fake_api_server.h"

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;

class ApiClientTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new FakeApiServer; }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  static ApiClient Client(int attempts) {
    return ApiClient(
        server_->InCluster(),
        {.name_space = "shop", .timeout = milliseconds(1000), .attempts = attempts, .stop = {}});
  }

  static nlohmann::json Requests() {
    const HttpEndpoint endpoint{.base_url = server_->url(),
                                .ca_pem = ReadText(server_->directory() / "ca.crt"),
                                .certificate_pem = {},
                                .key_pem = {}};
    HttpRequest request;
    request.target = "/_requests";
    return nlohmann::json::parse(Send(endpoint, request).body);
  }

  static size_t CountRequests(const std::string& method, const std::string& name) {
    size_t count = 0;
    for (const auto& request : Requests()) {
      const std::string path = request["path"];
      count += request["method"] == method && path.ends_with("/" + name) ? 1 : 0;
    }
    return count;
  }

  static FakeApiServer* server_;
};

FakeApiServer* ApiClientTest::server_ = nullptr;

template <typename Call>
std::string MessageOf(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST_F(ApiClientTest, PodIsRead) {
  const auto pod = Client(1).GetPod("x-0");
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->uid, "uid-x-0");
  EXPECT_EQ(pod->labels.at("pg-rejoin.io/role"), "primary");
  EXPECT_EQ(pod->annotations.at("pg-rejoin.io/outcome"), "started");
  EXPECT_EQ(pod->ip, "10.0.0.7");
  EXPECT_FALSE(pod->being_deleted);
}

TEST_F(ApiClientTest, TokenIsReadForEveryRequest) {
  ApiClient client = Client(1);
  ASSERT_TRUE(client.GetPod("x-0"));
  WriteText(server_->directory() / "token", "rotated-token");
  ASSERT_TRUE(client.GetPod("x-0"));
  EXPECT_EQ(Requests().back()["authorization"], "Bearer rotated-token");
}

TEST_F(ApiClientTest, AbsentIsAValue) { EXPECT_FALSE(Client(1).GetPod("status-404")); }

TEST_F(ApiClientTest, RefusalsNameTheRequestAndEscapeTheServersWords) {
  for (const int status : {401, 403, 410, 500}) {
    const std::string name = "status-" + std::to_string(status);
    const std::string message = MessageOf([&] { Client(1).GetPod(name); });
    EXPECT_NE(message.find(std::to_string(status) + " to GET"), std::string::npos) << message;
    EXPECT_NE(message.find("as you \\x1b[31mwish"), std::string::npos) << message;
  }
}

TEST_F(ApiClientTest, ReadsAreRepeatedWhileTheServerIsBusy) {
  EXPECT_TRUE(Client(3).GetPod("flaky-2"));
  EXPECT_EQ(CountRequests("GET", "flaky-2"), 3u);
}

TEST_F(ApiClientTest, UnguardedWritesAreNeverRepeated) {
  MessageOf([&] {
    Client(3).PatchPodMetadata(
        {.pod_name = "status-503", .uid = "u", .labels = {}, .annotations = {{"a", "b"}}});
  });
  EXPECT_EQ(CountRequests("PATCH", "status-503"), 1u);
}

TEST_F(ApiClientTest, HostileJsonIsAnError) {
  EXPECT_NE(MessageOf([&] { Client(1).GetPod("cut-json"); }).find("malformed JSON"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { Client(1).GetPod("no-json"); }).find("<html>"), std::string::npos);
  EXPECT_NE(MessageOf([&] { Client(1).GetPod("wrong-types"); }).find("metadata/name"),
            std::string::npos);
  MessageOf([&] { Client(1).GetPod("deep"); });
  MessageOf([&] { Client(1).GetPod("truncated"); });
}

TEST_F(ApiClientTest, ListIsReadToItsLastPage) {
  const auto pods = Client(1).ListPods("app=x,tier in (db)");
  ASSERT_EQ(pods.size(), 2u);
  EXPECT_EQ(pods[1].name, "x-1");
  EXPECT_NE(Requests().back()["path"].get<std::string>().find("app%3Dx%2Ctier%20in%20%28db%29"),
            std::string::npos);
}

TEST_F(ApiClientTest, MetadataPatchIsGuardedByUid) {
  PodMetadataPatch patch{.pod_name = "x-0",
                         .uid = "uid-x-0",
                         .labels = {{"pg-rejoin.io/role", "replica"}},
                         .annotations = {{"pg-rejoin.io/hint", std::nullopt}}};
  EXPECT_EQ(Client(1).PatchPodMetadata(patch), PatchOutcome::kDone);
  const nlohmann::json seen = Requests().back();
  EXPECT_EQ(seen["contentType"], "application/merge-patch+json");
  EXPECT_EQ(nlohmann::json::parse(seen["body"].get<std::string>()),
            nlohmann::json::parse(R"({"metadata":{"uid":"uid-x-0",
                                      "labels":{"pg-rejoin.io/role":"replica"},
                                      "annotations":{"pg-rejoin.io/hint":null}}})"));
  patch.uid = "uid-of-its-predecessor";
  EXPECT_EQ(Client(1).PatchPodMetadata(patch), PatchOutcome::kNoSuchPod);
  patch.pod_name = "status-404";
  EXPECT_EQ(Client(1).PatchPodMetadata(patch), PatchOutcome::kNoSuchPod);
}

TEST_F(ApiClientTest, ConflictOnAPodIsReadAgainOnce) {
  EXPECT_EQ(Client(1).PatchPodMetadata({.pod_name = "conflict-once",
                                        .uid = "uid-conflict-once",
                                        .labels = {},
                                        .annotations = {{"a", "b"}}}),
            PatchOutcome::kDone);
  EXPECT_EQ(CountRequests("PATCH", "conflict-once"), 2u);
  EXPECT_EQ(CountRequests("GET", "conflict-once"), 1u);
}

TEST_F(ApiClientTest, ConfigMapIsComparedAndSwapped) {
  ApiClient client = Client(1);
  const auto empty = client.GetConfigMap("authority");
  ASSERT_TRUE(empty);
  EXPECT_TRUE(empty->data.empty());
  EXPECT_EQ(client.UpdateConfigMap("authority", empty->resource_version,
                                   {{"primary", "x-0"}, {"paused", std::nullopt}}),
            UpdateOutcome::kDone);
  EXPECT_EQ(client.UpdateConfigMap("authority", empty->resource_version, {{"primary", "x-1"}}),
            UpdateOutcome::kConflict);
  EXPECT_EQ(client.GetConfigMap("authority")->data.at("primary"), "x-0");
}

TEST_F(ApiClientTest, WatchEndsWithTheFirstChange) {
  ApiClient api = Client(1);
  const std::string version = api.GetConfigMap("authority")->resource_version;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(api.AwaitConfigMapChange("authority", "another", std::chrono::seconds(20)));
  std::jthread writer([&] {
    std::this_thread::sleep_for(milliseconds(300));
    api.UpdateConfigMap("authority", version, {{"epoch", "9"}});
  });
  EXPECT_TRUE(api.AwaitConfigMapChange("authority", version, std::chrono::seconds(20)));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(300));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(ApiClientTest, WatchWithoutAChangeEndsInTime) {
  ApiClient api = Client(1);
  const std::string version = api.GetConfigMap("authority")->resource_version;
  EXPECT_FALSE(api.AwaitConfigMapChange("authority", version, std::chrono::seconds(1)));
}

TEST_F(ApiClientTest, StopEndsAWatch) {
  std::stop_source stop;
  ApiClient api(server_->InCluster(), {.name_space = "shop", .stop = stop.get_token()});
  const std::string version = api.GetConfigMap("authority")->resource_version;
  std::jthread stopper([&stop] {
    std::this_thread::sleep_for(milliseconds(200));
    stop.request_stop();
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(api.AwaitConfigMapChange("authority", version, std::chrono::seconds(20)), Error);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(ApiClientTest, EndpointsOfAService) {
  const auto endpoints = Client(1).ListServiceEndpoints("shop-primary");
  ASSERT_EQ(endpoints.size(), 3u);
  EXPECT_EQ(endpoints[0].pod_name, "x-0");
  EXPECT_TRUE(endpoints[0].ready);
  EXPECT_FALSE(endpoints[1].ready);
  EXPECT_EQ(endpoints[2].pod_name, "");
  EXPECT_TRUE(endpoints[2].ready);  // absent means ready
}

TEST_F(ApiClientTest, EventHasWhatTheApiRequires) {
  Client(1).CreateEvent({.pod_name = "x-0",
                         .pod_uid = "uid-x-0",
                         .reason = "RejoinRewound",
                         .action = "Rejoin",
                         .note = std::string(5000, 'n'),
                         .warning = false});
  const auto event = nlohmann::json::parse(Requests().back()["body"].get<std::string>());
  EXPECT_EQ(event["reason"], "RejoinRewound");
  EXPECT_EQ(event["regarding"]["uid"], "uid-x-0");
  EXPECT_EQ(event["note"].get<std::string>().size(), 1000u);
  EXPECT_TRUE(event["metadata"]["name"].get<std::string>().starts_with("x-0."));
  EXPECT_EQ(event["eventTime"].get<std::string>().size(),
            std::string("2026-01-01T00:00:00.000000Z").size());
  for (const char* key : {"reportingController", "reportingInstance", "action", "type"}) {
    EXPECT_TRUE(event.contains(key)) << key;
  }
}

TEST_F(ApiClientTest, WhatIsAllowedIsAskedOfTheServer) {
  const auto allowed = [](const char* verb) {
    return Client(1).IsAllowed({"coordination.k8s.io", "leases", "db", verb});
  };
  EXPECT_TRUE(allowed("get"));
  const auto asked = nlohmann::json::parse(Requests().back()["body"].get<std::string>());
  EXPECT_EQ(asked["spec"]["resourceAttributes"],
            nlohmann::json::parse(R"({"namespace":"shop","group":"coordination.k8s.io",
                                      "resource":"leases","name":"db","verb":"get"})"));
  EXPECT_FALSE(allowed("patch"));
  EXPECT_FALSE(allowed("delete"));
  EXPECT_NE(MessageOf([&] { allowed("create"); }).find("403"), std::string::npos);
}

TEST(UrlEncodeTest, OnlyUnreservedCharactersStay) {
  EXPECT_EQ(UrlEncode("a-b_c.d~e/f g%"), "a-b_c.d~e%2Ff%20g%25");
}

}  // namespace
}  // namespace pgrejoin
