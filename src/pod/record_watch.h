// Tells the sidecar when the authority record changes, so that it need not ask every few seconds: a
// watch of one object, renewed every minute. News is a reason to read the record, never what it
// says. Where there is no watch (an older Role, an API server that is away), Works() is false and
// the sidecar asks by itself.
//
// Run() has a thread of its own; the rest is for any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <string>

#include "k8s/api_client.h"

namespace pgrejoin {

class RecordWatch {
 public:
  // What ends sooner without news was ended by somebody in between, or by a server that goes away.
  static constexpr std::chrono::seconds kWatchAtLeast{30};

  // api must remain live while this is in use.
  RecordWatch(KubernetesApi* api, std::string config_map,
              std::chrono::seconds at_least = kWatchAtLeast)
      : api_(api), config_map_(std::move(config_map)), at_least_(at_least) {}

  // Until stop is requested.
  void Run(const std::stop_token& stop);

  // The record has been read at this version: news is what comes after it.
  void Seen(const std::string& resource_version);

  // Whether the record may have changed since Seen(); tells it once.
  bool TakeNews();

  // Whether the last watch was answered, so that no change can be missed for longer than it takes
  // to ask again.
  bool Works() const;

 private:
  std::string AwaitReading(const std::stop_token& stop);
  bool WatchOnce(const std::string& seen);

  KubernetesApi* const api_;
  const std::string config_map_;
  const std::chrono::seconds at_least_;
  mutable std::mutex mutex_;
  std::condition_variable_any read_;
  std::string seen_;
  std::string told_;     // behind this version there was news
  bool news_ = false;    // not taken yet
  bool unread_ = false;  // not acted on yet: there is no watch before the record is read again
  bool works_ = false;
};

}  // namespace pgrejoin
