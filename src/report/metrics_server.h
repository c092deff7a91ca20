// GET /metrics and /healthz over plain HTTP, for Prometheus and for people. Its threads
// (civetweb's) only read. metrics_server.cc is the only file that includes civetweb.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace pgrejoin {

struct MetricsPages {
  std::function<std::string()> metrics;
  std::function<bool()> healthy;  // false: /healthz answers 503
};

class MetricsServer {
 public:
  // port 0: any that is free. Throws Error(kUnavailable) when the port cannot be had.
  MetricsServer(uint16_t port, MetricsPages pages);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  uint16_t port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgrejoin
