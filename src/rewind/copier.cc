#include "rewind/copier.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/kill_point.h"
#include "base/log.h"

namespace pgrejoin {
namespace {

constexpr size_t kBatchRangesMax = 512;
constexpr uint64_t kBatchBytesMax = 4 << 20;
constexpr size_t kQueuedBatchesMax = 16;

}  // namespace

Copier::Copier(RewindSource& source, TargetDirectory& target, int connections, std::stop_token stop,
               OnWritten on_written)
    : source_(source),
      target_(target),
      connections_(static_cast<size_t>(std::max(1, connections))),
      stop_(std::move(stop)),
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
  CopyRange piece = range;
  uint32_t left = range.length;
  while (left > 0) {
    piece.length = std::min(left, kRangeBytesMax);
    AddPiece(piece);
    piece.offset += piece.length;
    left -= piece.length;
  }
}

void Copier::AddPiece(CopyRange piece) {
  if (stop_.stop_requested()) throw Error(ErrorKind::kUnavailable, "interrupted");
  pending_bytes_ += piece.length;
  pending_.push_back(std::move(piece));
  if (pending_.size() >= kBatchRangesMax || pending_bytes_ >= kBatchBytesMax) {
    Enqueue(std::exchange(pending_, {}));
    pending_bytes_ = 0;
  }
}

void Copier::Enqueue(Batch batch) {
  if (batch.empty()) return;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || queue_.size() < kQueuedBatchesMax; });
    if (!failure_) queue_.push_back(std::move(batch));
  }
  changed_.notify_all();
  RethrowFailure();
  // A connection costs more than a small batch: open the next one only when there is work for it.
  if (workers_.size() < connections_) {
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
  Enqueue(std::exchange(pending_, {}));
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
  if (stop_.stop_requested()) throw Error(ErrorKind::kUnavailable, "interrupted");
  if (failure_ || queue_.empty()) return false;
  *batch = std::move(queue_.front());
  queue_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return true;
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
    while (TakeBatch(&batch)) FetchBatch(*reader, batch);
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
  changed_.notify_all();
}

void Copier::FetchBatch(SourceReader& reader, const Batch& batch) {
  std::vector<FetchRequest> requests;
  requests.reserve(batch.size());
  for (const CopyRange& range : batch) {
    requests.push_back({range.source_path, range.offset, range.length});
  }
  std::optional<TargetWriter> writer;
  size_t index = 0;
  reader.Fetch(requests, [&](const FetchRequest& request, Bytes data, bool missing) {
    const CopyRange& range = batch[index++];
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
