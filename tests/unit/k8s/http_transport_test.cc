#include "k8s/http_transport.h"

#include <dirent.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "unit/k8s/fake_api_server.h"

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;

size_t CountEntries(const char* directory) {
  size_t count = 0;
  DIR* open = ::opendir(directory);
  while (::readdir(open) != nullptr) ++count;
  ::closedir(open);
  return count;
}

class HttpTransportTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new FakeApiServer; }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  static HttpEndpoint Trusting(const std::string& ca) {
    HttpEndpoint endpoint;
    endpoint.base_url = server_->url();
    endpoint.ca_pem = ReadText(server_->directory() / ca);
    return endpoint;
  }

  static HttpRequest To(const std::string& name) {
    HttpRequest request;
    request.target = "/api/v1/namespaces/shop/pods/" + name;
    request.headers = {{"Authorization", "Bearer first-token"}};
    return request;
  }

  static nlohmann::json RequestsOf(const std::string& name) {
    HttpRequest all;
    all.target = "/_requests";
    const HttpResponse response = Send(Trusting("ca.crt"), all);
    nlohmann::json found = nlohmann::json::array();
    for (const auto& request : nlohmann::json::parse(response.body)) {
      if (request["path"].get<std::string>().ends_with("/" + name)) found.push_back(request);
    }
    return found;
  }

  static FakeApiServer* server_;
};

FakeApiServer* HttpTransportTest::server_ = nullptr;

void ExpectUnavailable(const HttpEndpoint& endpoint, const HttpRequest& request) {
  try {
    Send(endpoint, request);
    FAIL() << "an answer came from " << request.target;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable) << error.message();
  }
}

TEST_F(HttpTransportTest, PrivateAuthorityIsTrusted) {
  const HttpResponse response = Send(Trusting("ca.crt"), To("x-0"));
  EXPECT_EQ(response.status, 200);
  EXPECT_NE(response.body.find("uid-x-0"), std::string::npos);
}

TEST_F(HttpTransportTest, OtherAuthorityIsRefused) {
  ExpectUnavailable(Trusting("other-ca.crt"), To("never-sent"));
  EXPECT_TRUE(RequestsOf("never-sent").empty());
}

TEST_F(HttpTransportTest, SystemAuthoritiesDoNotKnowThePrivateOne) {
  HttpEndpoint endpoint;
  endpoint.base_url = server_->url();
  ExpectUnavailable(endpoint, To("never-sent"));
}

TEST_F(HttpTransportTest, BrokenAuthorityIsAnError) {
  HttpEndpoint endpoint = Trusting("ca.crt");
  endpoint.ca_pem = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
  ExpectUnavailable(endpoint, To("never-sent"));
}

TEST_F(HttpTransportTest, CertificateForAnotherHostIsRefused) {
  HttpEndpoint endpoint = Trusting("ca.crt");
  endpoint.base_url = "https://localhost:" + server_->port();  // the certificate says 127.0.0.1
  ExpectUnavailable(endpoint, To("never-sent"));
  EXPECT_TRUE(RequestsOf("never-sent").empty());
}

TEST_F(HttpTransportTest, ClientCertificateIdentifiesUs) {
  HttpEndpoint endpoint = Trusting("ca.crt");
  endpoint.certificate_pem = ReadText(server_->directory() / "client.crt");
  endpoint.key_pem = ReadText(server_->directory() / "client.key");
  HttpRequest request = To("with-certificate");
  request.headers.clear();
  EXPECT_EQ(Send(endpoint, request).status, 200);
}

TEST_F(HttpTransportTest, EveryStatusIsAnAnswer) {
  for (const int status : {401, 403, 404, 409, 410, 422, 500, 503}) {
    EXPECT_EQ(Send(Trusting("ca.crt"), To("status-" + std::to_string(status))).status, status);
  }
}

TEST_F(HttpTransportTest, PatchArrivesAsSent) {
  HttpRequest request = To("x-0");
  request.method = "PATCH";
  request.content_type = "application/merge-patch+json";
  request.body = R"({"metadata":{"uid":"uid-x-0","annotations":{"a":"ü"}}})";
  EXPECT_EQ(Send(Trusting("ca.crt"), request).status, 200);
  const nlohmann::json seen = RequestsOf("x-0").back();
  EXPECT_EQ(seen["method"], "PATCH");
  EXPECT_EQ(seen["contentType"], "application/merge-patch+json");
  EXPECT_EQ(seen["body"], request.body);
}

TEST_F(HttpTransportTest, SilentServerTimesOutAndIsAskedOnce) {
  for (int trial = 0; trial < 5; ++trial) {
    HttpRequest request = To("slow");
    request.method = "PATCH";
    request.content_type = "application/merge-patch+json";
    request.body = "{}";
    request.timeout = milliseconds(300);
    const auto begin = std::chrono::steady_clock::now();
    ExpectUnavailable(Trusting("ca.crt"), request);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(1500));
  }
  EXPECT_EQ(RequestsOf("slow").size(), 5u);
}

TEST_F(HttpTransportTest, DrippingServerIsNotWaitedForWithoutEnd) {
  HttpRequest request = To("drip");
  request.timeout = milliseconds(600);
  const auto begin = std::chrono::steady_clock::now();
  ExpectUnavailable(Trusting("ca.crt"), request);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(3000));
}

TEST_F(HttpTransportTest, StopEndsAHangingRequest) {
  std::stop_source stop;
  HttpRequest request = To("slow");
  request.stop = stop.get_token();
  std::jthread stopper([&stop] {
    std::this_thread::sleep_for(milliseconds(200));
    stop.request_stop();
  });
  const auto begin = std::chrono::steady_clock::now();
  ExpectUnavailable(Trusting("ca.crt"), request);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(1500));
}

TEST_F(HttpTransportTest, HalfAnAnswerIsNoAnswer) {
  ExpectUnavailable(Trusting("ca.crt"), To("truncated"));
  ExpectUnavailable(Trusting("ca.crt"), To("hang-up"));
}

TEST_F(HttpTransportTest, AnswerIsBounded) { ExpectUnavailable(Trusting("ca.crt"), To("huge")); }

TEST_F(HttpTransportTest, NobodyThere) {
  HttpEndpoint endpoint = Trusting("ca.crt");
  endpoint.base_url = "https://127.0.0.1:1";
  ExpectUnavailable(endpoint, To("x-0"));
  endpoint.base_url = "https://no-such-host.invalid:443";
  ExpectUnavailable(endpoint, To("x-0"));
}

TEST_F(HttpTransportTest, DescriptorsAndThreadsDoNotGrow) {
  Send(Trusting("ca.crt"), To("x-0"));
  const size_t descriptors = CountEntries("/proc/self/fd");
  for (int i = 0; i < 20; ++i) Send(Trusting("ca.crt"), To("x-0"));
  EXPECT_LE(CountEntries("/proc/self/fd"), descriptors + 1);
  EXPECT_LE(CountEntries("/proc/self/task"), 2u + 3u);  // "." and "..", main, pool, timer
}

}  // namespace
}  // namespace pgrejoin
