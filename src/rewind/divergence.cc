#include "rewind/divergence.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "rewind/source_wal.h"

namespace pgrejoin {

ForkPoint FindCommonFork(const TimelineHistory& target, const TimelineHistory& source) {
  if (const auto fork = FindForkPoint(target, source)) return *fork;
  throw Error(ErrorKind::kNotRewindable,
              fmt::format("could not find common ancestor of the source and target cluster's "
                          "timelines (target {}, source {})",
                          target.ToString(), source.ToString()));
}

Divergence FindDivergence(const LocalState& local, const SourceIdentity& source) {
  const ForkPoint fork = FindCommonFork(local.history, source.history);
  Divergence divergence{fork, false};
  if (fork.lsn.valid()) {
    divergence.diverged = local.tail.end > fork.lsn;
  } else if (local.tail.end > source.flush_lsn) {
    // The same line, and the target has more of it than the source: which of the two is the
    // truth is not for us to say.
    throw Error(
        ErrorKind::kNotRewindable,
        fmt::format("the target's WAL ends at {}, past the source's {} on the same timeline "
                    "{}",
                    local.tail.end.ToString(), source.flush_lsn.ToString(), fork.tli),
        "Is the source really the primary? A promoted server is on a timeline of its own.");
  }
  return divergence;
}

SameRecord CompareRecord(RewindSource& source, const TimelineHistory& source_history,
                         const WalLayout& layout, const WalRecord& record) {
  RemoteWalFiles files(source, source_history, layout.segment_size);
  WalReader reader(files, layout);
  reader.Seek(record.start);
  const auto theirs = reader.Next();
  if (const auto* found = std::get_if<const WalRecord*>(&theirs);
      found != nullptr && (*found)->crc == record.crc && (*found)->prev == record.prev) {
    return SameRecord::kSame;
  }
  std::byte probe{};
  const uint64_t segment = record.start.value / layout.segment_size;
  return files.Read(segment, 0, {&probe, 1}) == 0 ? SameRecord::kGone : SameRecord::kOther;
}

bool CheckCommonRecord(RewindSource& source, const TimelineHistory& source_history,
                       const WalLayout& layout, const WalRecord& record) {
  const SameRecord same = CompareRecord(source, source_history, layout, record);
  if (same != SameRecord::kOther) return same == SameRecord::kSame;
  throw Error(ErrorKind::kNotRewindable,
              fmt::format("timeline {} is not the same on both sides: the record at {} differs",
                          source_history.TimelineAt(record.start), record.start.ToString()),
              "Two servers became the same timeline independently. Clone the target anew.");
}

}  // namespace pgrejoin
