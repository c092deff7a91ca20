// Fetches ranges of files on several connections and writes them to the target.
//
// The owner adds ranges from one thread; workers take batches from a bounded queue, so memory stays
// bounded whatever the amount. The first error of a worker stops the others and is thrown from
// Add() or Finish(). Batches are begun in the order in which their ranges were added; how far a
// slow one may fall behind is bounded.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "source/rewind_source.h"
#include "target/target_directory.h"

namespace pgrejoin {

struct CopyRange {
  std::string source_path;
  std::string target_path;
  uint64_t offset = 0;  // the same on both sides
  uint32_t length = 0;
};

struct CopierOptions {
  int connections = 4;
  std::stop_token stop = {};
  uint64_t batch_bytes = 4 << 20;  // asked for at a time
  // Batches that may be waiting, or on their way, from the oldest that is not written yet on.
  size_t batches_ahead = 32;
};

// What the source no longer had when it was asked.
struct CopyShortfall {
  std::set<std::string> vanished;                // target paths
  std::map<std::string, uint64_t> shortened_to;  // target path -> bytes there are
};

class Copier {
 public:
  // A range arrives whole: it is what a connection holds in memory, and what a kill on its way
  // loses.
  static constexpr uint32_t kRangeBytesMax = 256 << 10;

  // bytes of the range, from its offset on, have just been written. Called from the workers.
  using OnWritten = std::function<void(const CopyRange& range, uint64_t bytes)>;

  Copier(RewindSource& source, TargetDirectory& target, CopierOptions options,
         OnWritten on_written);
  ~Copier();

  // Splits what is longer than kRangeBytesMax or a batch. Waits while too many batches are ahead.
  void Add(const CopyRange& range);
  // Waits until all is written. Call once.
  CopyShortfall Finish();

 private:
  struct Batch {
    uint64_t number = 0;
    std::vector<CopyRange> ranges;
  };

  void AddPiece(CopyRange piece);
  void EnqueuePending();
  bool TakeBatch(Batch* batch);
  void NoteWritten(const Batch& batch);
  void Work();
  // nullptr: the source has no room for one more connection, and others are working.
  std::unique_ptr<SourceReader> OpenReader();
  void FetchBatch(SourceReader& reader, const Batch& batch);
  void NoteShort(const CopyRange& range, uint64_t bytes, bool missing);
  void RethrowFailure();

  RewindSource& source_;
  TargetDirectory& target_;
  CopierOptions options_;
  OnWritten on_written_;

  std::vector<CopyRange> pending_;
  uint64_t pending_bytes_ = 0;
  uint64_t batches_ = 0;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Batch> queue_;       // guarded by mutex_
  std::set<uint64_t> unwritten_;  // numbers of batches; guarded by mutex_
  bool closed_ = false;           // guarded by mutex_
  std::exception_ptr failure_;    // guarded by mutex_
  CopyShortfall shortfall_;       // guarded by mutex_
  std::mutex opening_;            // one connection after the other
  size_t readers_ = 0;            // guarded by opening_
  std::vector<std::jthread> workers_;
};

}  // namespace pgrejoin
