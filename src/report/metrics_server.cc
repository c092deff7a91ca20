#include "report/metrics_server.h"

#include <civetweb.h>

#include <string_view>
#include <utility>

#include "base/error.h"

namespace pgrejoin {
namespace {

// One scrape at a time is the rule; the second thread is for a client that dawdles.
constexpr const char* kThreads = "2";
constexpr const char* kRequestTimeoutMs = "5000";
constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

// Of the library, which would write to standard error in its own format.
int IgnoreMessage(const mg_connection* /*connection*/, const char* /*message*/) { return 1; }

bool Reads(mg_connection* connection) {
  const std::string_view method = mg_get_request_info(connection)->request_method;
  return method == "GET" || method == "HEAD";
}

int SendText(mg_connection* connection, const char* type, const std::string& text) {
  mg_send_http_ok(connection, type, static_cast<long long>(text.size()));
  const std::string_view method = mg_get_request_info(connection)->request_method;
  if (method == "GET") mg_write(connection, text.data(), text.size());
  return 200;
}

int RefuseMethod(mg_connection* connection) {
  mg_send_http_error(connection, 405, "%s", "only GET and HEAD");
  return 405;
}

int HandleMetrics(mg_connection* connection, void* pages) {
  if (!Reads(connection)) return RefuseMethod(connection);
  return SendText(connection, kMetricsType, static_cast<MetricsPages*>(pages)->metrics());
}

int HandleHealth(mg_connection* connection, void* pages) {
  if (!Reads(connection)) return RefuseMethod(connection);
  if (static_cast<MetricsPages*>(pages)->healthy()) {
    return SendText(connection, "text/plain", "ok\n");
  }
  mg_send_http_error(connection, 503, "%s", "the sidecar has not looked around for a minute");
  return 503;
}

}  // namespace

struct MetricsServer::Impl {
  struct Stop {
    void operator()(mg_context* context) const { mg_stop(context); }
  };
  MetricsPages pages;
  std::unique_ptr<mg_context, Stop> context;
};

MetricsServer::MetricsServer(uint16_t port, MetricsPages pages) : impl_(new Impl) {
  impl_->pages = std::move(pages);
  mg_callbacks callbacks{};
  callbacks.log_message = IgnoreMessage;
  const std::string number = std::to_string(port);
  // "+": of IPv6 as well, where there is any.
  for (const std::string& ports : {"+" + number, number}) {
    const char* options[] = {"listening_ports",    ports.c_str(),     "num_threads", kThreads,
                             "request_timeout_ms", kRequestTimeoutMs, nullptr};
    impl_->context.reset(mg_start(&callbacks, nullptr, options));
    if (impl_->context != nullptr) break;
  }
  if (impl_->context == nullptr) {
    throw Error(ErrorKind::kUnavailable, "could not listen on port " + number + " for metrics",
                "Choose another port: --metrics-port.");
  }
  mg_set_request_handler(impl_->context.get(), "/metrics$", HandleMetrics, &impl_->pages);
  mg_set_request_handler(impl_->context.get(), "/healthz$", HandleHealth, &impl_->pages);
}

MetricsServer::~MetricsServer() = default;

uint16_t MetricsServer::port() const {
  mg_server_port listener{};
  mg_get_server_ports(impl_->context.get(), 1, &listener);
  return static_cast<uint16_t>(listener.port);
}

}  // namespace pgrejoin
