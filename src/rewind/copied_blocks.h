// Which main-fork blocks the attempts of a rewind have copied, so that a resumed one need not fetch
// them again: pg_rejoin/copied. A block is only in it when it is durable. Format:
// docs/explanation/formats.md; why it is safe: docs/explanation/safety.md, "what is not sent
// again".
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "pgdata/timeline_history.h"
#include "target/target_directory.h"
#include "wal/block_ref_table.h"

namespace pgrejoin {

class CopiedBlocks {
 public:
  // Blocks count for one line of the source only. target must outlive this object.
  CopiedBlocks(TargetDirectory& target, const TimelineHistory& line, uint32_t blocks_per_segment);

  // What earlier attempts have copied and is still there: in a file of target_files, as they are
  // now, within its length.
  BlockRefTable Read(const std::vector<TargetFile>& target_files) const;

  // Begins the file anew with blocks; must come before the attempt changes anything that PostgreSQL
  // looks at. From here on what is noted is made durable each time some part of bytes_to_copy has
  // come together.
  void Begin(const BlockRefTable& blocks, uint64_t bytes_to_copy);
  // After they were written. Paths that are no main fork, and parts of blocks, are left out; so is
  // everything before Begin(). Thread-safe; one of the callers waits for the storage now and then,
  // and all do while much more has been written than it has made durable.
  void Note(const std::string& path, uint64_t offset, uint64_t bytes);

 private:
  // Tablespace, database, relation, segment, first block and count within the segment, 0, CRC-32C.
  static constexpr size_t kRecordBytes = 32;
  using Record = std::array<std::byte, kRecordBytes>;

  enum class State { kIdle, kSyncing, kFailed };  // kSyncing: by one of the callers of Note()

  static Record MakeRecord(const RelationSegment& segment, BlockNumber first, BlockNumber count);
  void Append(const std::vector<Record>& records);
  void MakeDurable(const std::vector<Record>& records);
  // Both under the mutex, and whoever waits looks again.
  void Enter(State state, uint64_t parts_grow_by);

  TargetDirectory& target_;
  std::string head_;
  uint32_t blocks_per_segment_;
  std::optional<TargetWriter> writer_;  // since Begin(); used by one thread at a time
  uint64_t length_ = 0;                 // of the file; likewise

  std::mutex mutex_;
  std::vector<Record> pending_;  // guarded by mutex_: written, maybe not durable
  uint64_t pending_bytes_ = 0;   // guarded by mutex_
  uint64_t sync_bytes_ = 0;      // guarded by mutex_ since Begin(): a part
  State state_ = State::kIdle;   // guarded by mutex_
  std::condition_variable synced_;
};

// The blocks do not count any more: of another line, or maybe lost.
void ForgetCopiedBlocks(TargetDirectory& target);

}  // namespace pgrejoin
