// A source that is a map of paths in memory, with a hook before each fetch that may throw, block or
// change the files, as a running server does.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "source/rewind_source.h"

namespace pgrejoin::testing {

class FakeSource : public RewindSource {
 public:
  // Guarded by mutex_ once readers run.
  std::map<std::string, std::string> files;
  std::map<std::string, std::string> links;
  // Sizes that the list gives instead of those in files.
  std::map<std::string, uint64_t> listed_sizes;
  std::vector<std::string> directories;
  SourceIdentity identity;
  // Runs without the lock, before each request is answered; may throw.
  std::function<void(const FetchRequest&)> on_fetch;
  std::function<void(const FetchRequest&)> on_digest;  // likewise
  std::function<void()> on_open;
  std::function<void()> on_identify;
  // Answers with at most this many bytes.
  size_t chunk_bytes_max = SIZE_MAX;

  std::atomic<int> readers_opened{0};
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> digests{0};

  SourceIdentity Identify() override {
    if (on_identify) on_identify();
    const std::scoped_lock lock(mutex_);
    return identity;
  }
  void ListFiles(const std::function<void(SourceFile)>& sink) override {
    const std::scoped_lock lock(mutex_);
    for (const std::string& path : directories) {
      sink({.path = path, .type = FileType::kDirectory, .size = 0, .link_target = {}});
    }
    for (const auto& [path, target] : links) {
      sink({.path = path, .type = FileType::kSymlink, .size = 0, .link_target = target});
    }
    for (const auto& [path, content] : files) {
      const auto listed = listed_sizes.find(path);
      const uint64_t size = listed != listed_sizes.end() ? listed->second : content.size();
      sink({.path = path, .type = FileType::kRegular, .size = size, .link_target = {}});
    }
  }
  std::optional<std::string> ReadFile(const std::string& path, size_t bytes_max) override {
    const std::scoped_lock lock(mutex_);
    const auto file = files.find(path);
    if (file == files.end()) return std::nullopt;
    EXPECT_LE(file->second.size(), bytes_max);
    return file->second;
  }
  std::unique_ptr<SourceReader> OpenReader() override {
    if (on_open) on_open();
    ++readers_opened;
    return std::make_unique<Reader>(*this);
  }
  std::string PrimaryConninfo() const override { return "host=source"; }

  void Change(const std::function<void()>& change) {
    const std::scoped_lock lock(mutex_);
    change();
  }

 private:
  class Reader : public SourceReader {
   public:
    explicit Reader(FakeSource& source) : source_(source) {}
    void Fetch(std::span<const FetchRequest> batch, const FetchSink& sink) override {
      for (const FetchRequest& request : batch) {
        if (source_.on_fetch) source_.on_fetch(request);
        ++source_.requests;
        const auto data = source_.Slice(request);
        received_ += data ? data->size() : 0;
        sink(request, data ? AsBytes(*data) : Bytes(), !data);
      }
    }
    void Digest(std::span<const FetchRequest> batch, const DigestSink& sink) override {
      for (const FetchRequest& request : batch) {
        if (source_.on_digest) source_.on_digest(request);
        ++source_.digests;
        const auto data = source_.Slice(request);
        sink(request, data ? std::optional(ComputeSha256(AsBytes(*data))) : std::nullopt);
      }
    }
    uint64_t bytes_received() const override { return received_; }

   private:
    FakeSource& source_;
    uint64_t received_ = 0;
  };

  std::optional<std::string> Slice(const FetchRequest& request) {
    const std::scoped_lock lock(mutex_);
    const auto file = files.find(request.path);
    if (file == files.end()) return std::nullopt;
    if (request.offset >= file->second.size()) return "";
    return file->second.substr(request.offset, std::min<size_t>(request.length, chunk_bytes_max));
  }

  std::mutex mutex_;
};

}  // namespace pgrejoin::testing
