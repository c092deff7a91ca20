#include "report/metrics_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>

#include "base/error.h"
#include "base/unique_fd.h"

namespace pgrejoin {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string Ask(uint16_t port, const std::string& request) {
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return "no connection";
  }
  const std::string whole = request + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(::send(client.get(), whole.data(), whole.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(whole.size()));
  std::string answer;
  std::array<char, 4096> buffer{};
  for (ssize_t bytes = 0; (bytes = ::recv(client.get(), buffer.data(), buffer.size(), 0)) > 0;) {
    answer.append(buffer.data(), static_cast<size_t>(bytes));
  }
  return answer;
}

class MetricsServerTest : public testing::Test {
 protected:
  std::atomic<bool> healthy_ = true;
  MetricsServer server_{0, {[] { return "pg_rejoin_x 1\n"; }, [this] { return healthy_.load(); }}};
};

TEST_F(MetricsServerTest, ServesMetricsAsPrometheusReadsThem) {
  const std::string answer = Ask(server_.port(), "GET /metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\npg_rejoin_x 1\n")) << answer;
}

TEST_F(MetricsServerTest, HealthIsAStatus) {
  EXPECT_THAT(Ask(server_.port(), "GET /healthz"), StartsWith("HTTP/1.1 200"));
  healthy_ = false;
  EXPECT_THAT(Ask(server_.port(), "GET /healthz"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(Ask(server_.port(), "GET /metrics"), StartsWith("HTTP/1.1 200"));
}

TEST_F(MetricsServerTest, NothingElseIsThere) {
  for (const char* request : {"GET /", "GET /metrics/x", "GET /etc/passwd", "GET /../etc/passwd",
                              "POST /metrics", "PUT /healthz", "DELETE /metrics"}) {
    const std::string answer = Ask(server_.port(), request);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 4")) << request;
    EXPECT_EQ(answer.find("root:"), std::string::npos);
  }
}

TEST_F(MetricsServerTest, ATakenPortIsAnError) {
  try {
    const MetricsServer second(server_.port(), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("could not listen on port"));
  }
}

}  // namespace
}  // namespace pgrejoin
