#include "rewind/copier.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/kill_point.h"
#include "base/log.h"

namespace pgrejoin {
namespace {

constexpr size_t kBatchRangesMax = 512;

}  // namespace

Copier::Copier(RewindSource& source, TargetDirectory& target, CopierOptions options,
               OnWritten on_written)
    : source_(source),
      target_(target),
      options_(std::move(options)),
      on_written_(std::move(on_written)) {}

Copier::~Copier() {
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    queue_.clear();
  }
  changed_.notify_all();
}

void Copier::Add(const CopyRange& range) {
  const uint64_t piece_bytes_max = std::min<uint64_t>(kRangeBytesMax, options_.batch_bytes);
  CopyRange piece = range;
  uint32_t left = range.length;
  while (left > 0) {
    piece.length = static_cast<uint32_t>(std::min<uint64_t>(left, piece_bytes_max));
    AddPiece(piece);
    piece.offset += piece.length;
    left -= piece.length;
  }
}

void Copier::AddPiece(CopyRange piece) {
  if (options_.stop.stop_requested()) throw Error(ErrorKind::kUnavailable, "interrupted");
  pending_bytes_ += piece.length;
  pending_.push_back(std::move(piece));
  if (pending_.size() >= kBatchRangesMax || pending_bytes_ >= options_.batch_bytes) {
    EnqueuePending();
  }
}

void Copier::EnqueuePending() {
  if (pending_.empty()) return;
  Batch batch{batches_++, std::exchange(pending_, {})};
  pending_bytes_ = 0;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return failure_ || unwritten_.empty() ||
             batch.number - *unwritten_.begin() < options_.batches_ahead;
    });
    unwritten_.insert(batch.number);
    queue_.push_back(std::move(batch));
  }
  changed_.notify_all();
  RethrowFailure();
  // A connection costs more than a small batch: open the next one only when there is work for it.
  if (workers_.size() < static_cast<size_t>(std::max(1, options_.connections))) {
    workers_.emplace_back([this] { Work(); });
  }
}

void Copier::RethrowFailure() {
  std::exception_ptr failure;
  {
    const std::scoped_lock lock(mutex_);
    failure = failure_;
  }
  if (failure) std::rethrow_exception(failure);
}

CopyShortfall Copier::Finish() {
  EnqueuePending();
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  workers_.clear();  // joins
  RethrowFailure();
  return std::move(shortfall_);
}

bool Copier::TakeBatch(Batch* batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || failure_ || !queue_.empty(); });
  if (options_.stop.stop_requested()) throw Error(ErrorKind::kUnavailable, "interrupted");
  if (failure_ || queue_.empty()) return false;
  *batch = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

void Copier::NoteWritten(const Batch& batch) {
  {
    const std::scoped_lock lock(mutex_);
    unwritten_.erase(batch.number);
  }
  changed_.notify_all();
}

std::unique_ptr<SourceReader> Copier::OpenReader() {
  const std::scoped_lock lock(opening_);
  try {
    std::unique_ptr<SourceReader> reader = source_.OpenReader();
    ++readers_;
    return reader;
  } catch (const Error& error) {
    if (readers_ == 0 || error.kind() != ErrorKind::kUnavailable) throw;
    LogDebug("copying with {} connections: {}", readers_, error.message());
    return nullptr;
  }
}

void Copier::Work() {
  try {
    const std::unique_ptr<SourceReader> reader = OpenReader();
    if (reader == nullptr) return;
    Batch batch;
    while (TakeBatch(&batch)) {
      FetchBatch(*reader, batch);
      NoteWritten(batch);
    }
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
  changed_.notify_all();
}

void Copier::FetchBatch(SourceReader& reader, const Batch& batch) {
  std::vector<FetchRequest> requests;
  requests.reserve(batch.ranges.size());
  for (const CopyRange& range : batch.ranges) {
    requests.push_back({range.source_path, range.offset, range.length});
  }
  std::optional<TargetWriter> writer;
  size_t index = 0;
  reader.Fetch(requests, [&](const FetchRequest& request, Bytes data, bool missing) {
    const CopyRange& range = batch.ranges[index++];
    if (data.size() < request.length) NoteShort(range, data.size(), missing);
    if (missing || data.empty()) return;
    if (!writer || writer->path() != range.target_path) {
      writer.emplace(target_.OpenWriter(range.target_path, /*truncate=*/false));
    }
    writer->WriteAt(range.offset, data);
    on_written_(range, data.size());
    KillPoint("copy-range");
  });
}

void Copier::NoteShort(const CopyRange& range, uint64_t bytes, bool missing) {
  const std::scoped_lock lock(mutex_);
  if (missing) {
    shortfall_.vanished.insert(range.target_path);
    return;
  }
  const uint64_t length = range.offset + bytes;
  const auto [at, inserted] = shortfall_.shortened_to.emplace(range.target_path, length);
  if (!inserted) at->second = std::min(at->second, length);
}

}  // namespace pgrejoin
