#include "rewind/same_files.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file_access.h"
#include "base/log.h"
#include "base/sha256.h"

namespace pgrejoin {
namespace {

// Below it a digest costs as much as the content.
constexpr uint64_t kFileBytesMin = 4096;
// What the source holds in memory to digest it; an SLRU segment.
constexpr uint32_t kPieceBytes = 256 << 10;
constexpr size_t kBatchPieces = 256;
// One connection is opened for so much.
constexpr uint64_t kBytesPerConnection = 8 << 20;

bool IsCandidate(const PlanEntry& entry) {
  return entry.action == FileAction::kCopyWhole && entry.type == FileType::kRegular &&
         entry.on_target && entry.source_size == entry.target_size &&
         entry.source_size >= kFileBytesMin && !ParseRelationPath(entry.path);
}

// Compares its share of the files on one connection.
class Comparison {
 public:
  Comparison(const TargetDirectory& target, SourceReader& reader, std::stop_token stop)
      : target_(target), reader_(reader), stop_(std::move(stop)), buffer_(kPieceBytes + 1) {}

  // The last piece asks for one byte more than the target has: a file that has grown since it was
  // listed is not the same.
  void Add(const PlanEntry* entry) {
    for (uint64_t offset = 0; offset < entry->source_size && !IsDifferent(entry);
         offset += kPieceBytes) {
      const uint64_t left = entry->source_size - offset;
      const bool last = left <= kPieceBytes;
      pieces_.push_back(
          {entry->path, offset, last ? static_cast<uint32_t>(left) + 1 : kPieceBytes});
      owners_.push_back(entry);
      if (pieces_.size() >= kBatchPieces) CompareBatch();
    }
  }
  // Those that are not the same; the rest of what was added is.
  std::vector<const PlanEntry*> Finish() {
    CompareBatch();
    return std::move(different_);
  }

 private:
  // Of the entry that is compared now.
  bool IsDifferent(const PlanEntry* entry) const {
    return !different_.empty() && different_.back() == entry;
  }

  void CompareBatch() {
    if (stop_.stop_requested()) throw Error(ErrorKind::kUnavailable, "interrupted");
    size_t index = 0;
    // While this side digests a piece, the source goes on with the next.
    reader_.Digest(pieces_, [&](const FetchRequest& piece, const std::optional<Sha256>& theirs) {
      const PlanEntry* entry = owners_[index++];
      const bool same = !IsDifferent(entry) && theirs && *theirs == DigestOfOurs(piece);
      if (!same && !IsDifferent(entry)) different_.push_back(entry);
    });
    pieces_.clear();
    owners_.clear();
  }

  Sha256 DigestOfOurs(const FetchRequest& piece) {
    if (path_ != piece.path) {
      file_ = target_.OpenFile(piece.path);
      path_ = piece.path;
    }
    const auto got = file_.valid()
                         ? ReadAt(file_, piece.offset, MutableBytes(buffer_).first(piece.length))
                         : std::nullopt;
    if (!got) {
      throw SystemError(ErrorKind::kTargetFailed,
                        "could not read \"" + target_.FullPath(piece.path) + "\"");
    }
    return ComputeSha256(Bytes(buffer_).first(*got));
  }

  const TargetDirectory& target_;
  SourceReader& reader_;
  std::stop_token stop_;
  std::vector<std::byte> buffer_;
  std::vector<FetchRequest> pieces_;
  std::vector<const PlanEntry*> owners_;  // of the pieces
  std::vector<const PlanEntry*> different_;
  std::string path_;
  UniqueFd file_;
};

// As many as the work is worth and the source has room for, but one.
std::vector<std::unique_ptr<SourceReader>> OpenReaders(RewindSource& source, uint64_t bytes,
                                                       int connections) {
  const uint64_t wanted = std::clamp<uint64_t>(bytes / kBytesPerConnection, 1,
                                               static_cast<uint64_t>(std::max(1, connections)));
  std::vector<std::unique_ptr<SourceReader>> readers;
  while (readers.size() < wanted) {
    try {
      readers.push_back(source.OpenReader());
    } catch (const Error& error) {
      if (readers.empty() || error.kind() != ErrorKind::kUnavailable) throw;
      LogDebug("comparing with {} connections: {}", readers.size(), error.message());
      break;
    }
  }
  return readers;
}

}  // namespace

void KeepSameFiles(const TargetDirectory& target, RewindSource& source,
                   const CompareOptions& options, RewindPlan* plan) {
  std::vector<PlanEntry*> candidates;
  uint64_t bytes = 0;
  for (PlanEntry& entry : plan->entries) {
    if (!IsCandidate(entry)) continue;
    candidates.push_back(&entry);
    bytes += entry.source_size;
  }
  if (candidates.empty()) return;

  const auto readers = OpenReaders(source, bytes, options.connections);
  std::mutex mutex;
  std::vector<const PlanEntry*> different;
  std::exception_ptr failure;
  const auto compare = [&](size_t share) {
    try {
      Comparison comparison(target, *readers[share], options.stop);
      for (size_t i = share; i < candidates.size(); i += readers.size()) {
        comparison.Add(candidates[i]);
      }
      const auto found = comparison.Finish();
      const std::scoped_lock lock(mutex);
      different.insert(different.end(), found.begin(), found.end());
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t share = 1; share < readers.size(); ++share) others.emplace_back(compare, share);
    compare(0);
  }
  if (failure) std::rethrow_exception(failure);

  std::ranges::sort(different);
  std::erase_if(candidates,
                [&](PlanEntry* entry) { return std::ranges::binary_search(different, entry); });
  KeepEntries(candidates, plan);
}

}  // namespace pgrejoin
