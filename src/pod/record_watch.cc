#include "pod/record_watch.h"

#include <algorithm>
#include <utility>

#include "base/backoff.h"
#include "base/error.h"
#include "base/log.h"

namespace pgrejoin {
namespace {

constexpr std::chrono::seconds kWatchFor{60};
// Only a watch that has ended shows that there is one: the first is short.
constexpr std::chrono::seconds kFirstWatchFor{5};
constexpr std::chrono::seconds kRetryAfter{10};

}  // namespace

void RecordWatch::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const std::string seen = AwaitReading(stop);
    if (stop.stop_requested()) return;
    bool worked = false;
    try {
      worked = WatchOnce(seen);
    } catch (const Error& error) {
      LogDebug("watch of the authority record: {}", error.message());
    }
    {
      const std::lock_guard lock(mutex_);
      works_ = worked;
    }
    if (!worked) SleepFor(kRetryAfter, stop);
  }
}

// The version to watch from: one that has been read since the last news.
std::string RecordWatch::AwaitReading(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  read_.wait(lock, stop, [this] { return !seen_.empty() && !unread_; });
  return seen_;
}

// False for news that was none, and for a watch that was cut short: neither may make us ask without
// a pause.
bool RecordWatch::WatchOnce(const std::string& seen) {
  const auto begin = std::chrono::steady_clock::now();
  const std::chrono::seconds wait = Works() ? kWatchFor : kFirstWatchFor;
  const bool changed = api_->AwaitConfigMapChange(config_map_, seen, wait);
  if (!changed) {
    return std::chrono::steady_clock::now() - begin >= std::min(at_least_, wait / 2);
  }
  const std::lock_guard lock(mutex_);
  const bool again = seen == told_;
  told_ = seen;
  // Who has read it meanwhile needs no news; what is news to that reading, the next watch tells.
  if (seen_ == seen) news_ = unread_ = true;
  return !again;
}

void RecordWatch::Seen(const std::string& resource_version) {
  const std::lock_guard lock(mutex_);
  seen_ = resource_version;
  unread_ = false;
  read_.notify_all();
}

bool RecordWatch::TakeNews() {
  const std::lock_guard lock(mutex_);
  return std::exchange(news_, false);
}

bool RecordWatch::Works() const {
  const std::lock_guard lock(mutex_);
  return works_;
}

}  // namespace pgrejoin
