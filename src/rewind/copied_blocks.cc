#include "rewind/copied_blocks.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/file_access.h"
#include "base/kill_point.h"

namespace pgrejoin {
namespace {

const std::string kPath = std::string(kOwnDirectory) + "/copied";
const std::string kTemporaryPath = kPath + ".tmp";
constexpr uint64_t kBlockBytes = 8192;
constexpr size_t kCrcOffset = 28;
// A killed run loses what is being made durable and what waits for that: at most kWaitingPartsMax
// such parts each, and what is under way.
constexpr uint64_t kSyncParts = 100;
constexpr uint64_t kSyncBytesMin = 2 << 20;
constexpr uint64_t kWaitingPartsMax = 2;
// Storage that takes longer is given larger parts: what is written by others may be waited for,
// too.
constexpr std::chrono::seconds kSlowSync{1};

std::map<RelationSegment, uint64_t> BlocksThere(const std::vector<TargetFile>& files) {
  std::map<RelationSegment, uint64_t> blocks;
  for (const TargetFile& file : files) {
    if (file.type != FileType::kRegular) continue;
    if (const auto segment = ParseRelationPath(file.path)) {
      blocks[*segment] = file.size / kBlockBytes;
    }
  }
  return blocks;
}

}  // namespace

CopiedBlocks::CopiedBlocks(TargetDirectory& target, const TimelineHistory& line,
                           uint32_t blocks_per_segment)
    : target_(target),
      head_(fmt::format("pg-rejoin copied 1 {}\n", line.ToString())),
      blocks_per_segment_(blocks_per_segment) {}

BlockRefTable CopiedBlocks::Read(const std::vector<TargetFile>& target_files) const {
  BlockRefTable copied(blocks_per_segment_);
  const UniqueFd fd = target_.OpenFile(kPath);
  std::string head(head_.size(), '\0');
  // What cannot be read counts as not there: it is fetched again.
  if (!fd.valid() || ReadAt(fd, 0, std::as_writable_bytes(std::span(head))) != head.size() ||
      head != head_) {
    return copied;
  }
  const std::map<RelationSegment, uint64_t> there = BlocksThere(target_files);
  Record record;
  for (uint64_t offset = head.size(); ReadAt(fd, offset, record) == record.size();
       offset += record.size()) {
    // The end of what was durable when the machine stopped.
    if (LoadLe32(record, kCrcOffset) != ComputeCrc32c(Bytes(record).first(kCrcOffset))) break;
    const RelationSegment segment{{LoadLe32(record, 0), LoadLe32(record, 4), LoadLe32(record, 8)},
                                  LoadLe32(record, 12)};
    const auto file = there.find(segment);
    if (file == there.end()) continue;
    const uint64_t first = LoadLe32(record, 16);
    const uint64_t end = std::min(first + LoadLe32(record, 20), file->second);
    const uint64_t base = uint64_t{segment.segment} * blocks_per_segment_;
    for (uint64_t block = first; block < end; ++block) {
      copied.Add(segment.locator, static_cast<BlockNumber>(base + block));
    }
  }
  return copied;
}

void CopiedBlocks::Begin(const BlockRefTable& blocks, uint64_t bytes_to_copy) {
  sync_bytes_ = std::max(kSyncBytesMin, bytes_to_copy / kSyncParts);
  writer_.emplace(target_.OpenWriter(kTemporaryPath, /*truncate=*/true));
  writer_->WriteAt(0, AsBytes(head_));
  length_ = head_.size();
  for (const auto& [segment, bitmap] : blocks.segments()) {
    std::vector<Record> records;
    bitmap.ForEachRun([&records, s = segment](BlockNumber first, BlockNumber count) {
      records.push_back(MakeRecord(s, first, count));
    });
    Append(records);
  }
  writer_->Sync();
  target_.Rename(kTemporaryPath, kPath);
  target_.SyncPath(std::string(kOwnDirectory), FileType::kDirectory);
}

CopiedBlocks::Record CopiedBlocks::MakeRecord(const RelationSegment& segment, BlockNumber first,
                                              BlockNumber count) {
  Record record{};
  size_t offset = 0;
  for (const uint32_t value : {segment.locator.tablespace, segment.locator.database,
                               segment.locator.number, segment.segment, first, count}) {
    StoreLe<uint32_t>(record, offset, value);
    offset += sizeof(value);
  }
  StoreLe<uint32_t>(record, kCrcOffset, ComputeCrc32c(Bytes(record).first(kCrcOffset)));
  return record;
}

void CopiedBlocks::Append(const std::vector<Record>& records) {
  writer_->WriteAt(length_, std::as_bytes(std::span(records)));
  length_ += records.size() * kRecordBytes;
}

void CopiedBlocks::Note(const std::string& path, uint64_t offset, uint64_t bytes) {
  const auto segment = ParseRelationPath(path);
  const uint64_t count = bytes / kBlockBytes;
  if (!writer_ || !segment || offset % kBlockBytes != 0 || count == 0) return;
  std::vector<Record> records;
  {
    std::unique_lock lock(mutex_);
    pending_.push_back(MakeRecord(*segment, static_cast<BlockNumber>(offset / kBlockBytes),
                                  static_cast<BlockNumber>(count)));
    pending_bytes_ += bytes;
    synced_.wait(lock, [this] {
      return state_ != State::kSyncing || pending_bytes_ < kWaitingPartsMax * sync_bytes_;
    });
    if (state_ != State::kIdle || pending_bytes_ < sync_bytes_) return;
    records = std::exchange(pending_, {});
    pending_bytes_ = 0;
    state_ = State::kSyncing;
  }
  const auto begun = std::chrono::steady_clock::now();
  try {
    MakeDurable(records);
    const bool slow = std::chrono::steady_clock::now() - begun > kSlowSync;
    Enter(State::kIdle, slow ? 2 : 1);
  } catch (...) {
    // What was lost stays lost, though the next sync may succeed: nothing is noted any more.
    Enter(State::kFailed, 1);
    throw;
  }
}

void CopiedBlocks::Enter(State state, uint64_t parts_grow_by) {
  {
    const std::scoped_lock lock(mutex_);
    state_ = state;
    sync_bytes_ *= parts_grow_by;
  }
  synced_.notify_all();
}

void CopiedBlocks::MakeDurable(const std::vector<Record>& records) {
  target_.SyncAll();
  Append(records);
  writer_->Sync();
  KillPoint("copied-noted");
}

void ForgetCopiedBlocks(TargetDirectory& target) { target.Remove(kPath, FileType::kRegular); }

}  // namespace pgrejoin
