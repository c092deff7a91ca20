#include "source/libpq_source.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/unique_fd.h"

namespace pgrejoin {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Lets everybody log in and answers no query: a backend that hangs while its kernel acknowledges
// whatever is sent. Real servers are asked in tests/postgres.
class SilentServer {
 public:
  SilentServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener_.get(), generic, size), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener_.get(), generic, &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~SilentServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  ConnectOptions Options() const {
    ConnectOptions options;
    options.conninfo = "host=127.0.0.1 port=" + std::to_string(port_) +
                       " user=u dbname=d sslmode=disable gssencmode=disable";
    options.answer_timeout = seconds(60);
    return options;
  }

 private:
  void Serve() {
    const UniqueFd client(::accept(listener_.get(), nullptr, nullptr));
    if (!client.valid()) return;
    std::array<char, 4096> buffer{};
    if (::recv(client.get(), buffer.data(), buffer.size(), 0) <= 0) return;
    // AuthenticationOk, ReadyForQuery (doc: protocol-message-formats).
    constexpr std::string_view kWelcome("R\0\0\0\10\0\0\0\0Z\0\0\0\5I", 15);
    EXPECT_EQ(::send(client.get(), kWelcome.data(), kWelcome.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(kWelcome.size()));
    while (::recv(client.get(), buffer.data(), buffer.size(), 0) > 0) {
    }
  }

  UniqueFd listener_;
  uint16_t port_ = 0;
  std::thread thread_;
};

using Question = void (*)(const ConnectOptions&);
constexpr Question kQuestions[] = {
    [](const ConnectOptions& options) { IdentifyServer(options); },
    [](const ConnectOptions& options) { RunSql(options, "SELECT 1"); },
    [](const ConnectOptions& options) { LibpqSource::Connect(options); },
};

std::string MessageOf(Question question, const ConnectOptions& options) {
  try {
    question(options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    return error.message();
  }
  return "answered";
}

TEST(LibpqSourceTest, ServerThatHangsAfterTheLoginIsGivenUp) {
  for (const Question question : kQuestions) {
    const SilentServer server;
    ConnectOptions options = server.Options();
    options.answer_timeout = options.silence_max = milliseconds(300);
    const auto begin = Clock::now();
    EXPECT_EQ(MessageOf(question, options), "connected, but the server does not answer in time");
    EXPECT_GE(Clock::now() - begin, milliseconds(300));
    EXPECT_LT(Clock::now() - begin, seconds(20));
  }
}

TEST(LibpqSourceTest, StopEndsTheWaitForAnAnswer) {
  for (const Question question : kQuestions) {
    const SilentServer server;
    std::stop_source stop;
    ConnectOptions options = server.Options();
    options.stop = stop.get_token();
    const std::jthread later([&] {
      std::this_thread::sleep_for(milliseconds(200));
      stop.request_stop();
    });
    const auto begin = Clock::now();
    EXPECT_EQ(MessageOf(question, options), "interrupted while waiting for the server's answer");
    EXPECT_LT(Clock::now() - begin, seconds(20));
  }
}

TEST(LibpqSourceTest, ALoginThatFailsTellsWhetherThereWasAnybodyToAsk) {
  ConnectOptions options;
  {
    const SilentServer server;
    options = server.Options();
    EXPECT_EQ(TryLogin(options, false).problem, "");
  }
  const LoginAttempt refused = TryLogin(options, false);
  EXPECT_NE(refused.problem, "");
  EXPECT_TRUE(refused.has_address);
  options.conninfo = "host=/nosuch user=u dbname=d";
  EXPECT_TRUE(TryLogin(options, true).has_address);
  options.conninfo = "host=no..such.name user=u dbname=d";  // no DNS is asked for such a one
  const LoginAttempt nameless = TryLogin(options, true);
  EXPECT_NE(nameless.problem, "");
  EXPECT_FALSE(nameless.has_address);
}

}  // namespace
}  // namespace pgrejoin
