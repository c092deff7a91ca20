#include "base/directory_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>

namespace pgrejoin {

DirectoryWatch::DirectoryWatch(const std::string& directory)
    : inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)), stopped_(eventfd(0, EFD_CLOEXEC)) {
  if (inotify_.get() >= 0) inotify_add_watch(inotify_.get(), directory.c_str(), IN_MOVED_TO);
}

bool DirectoryWatch::Wait(std::chrono::milliseconds longest, std::stop_token stop) {
  // poll() passes over a negative descriptor.
  std::array<pollfd, 2> waited{pollfd{inotify_.get(), POLLIN, 0},
                               pollfd{stopped_.get(), POLLIN, 0}};
  const std::stop_callback wake(stop, [this] { eventfd_write(stopped_.get(), 1); });
  poll(waited.data(), waited.size(), static_cast<int>(longest.count()));
  Drain();
  return !stop.stop_requested();
}

// What has happened is not told: who waited looks at the directory.
void DirectoryWatch::Drain() const {
  alignas(inotify_event) std::array<char, 4096> events;
  while (inotify_.get() >= 0 && read(inotify_.get(), events.data(), events.size()) > 0) {
  }
}

}  // namespace pgrejoin
