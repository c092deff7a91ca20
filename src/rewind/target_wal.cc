#include "rewind/target_wal.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "base/file_access.h"
#include "wal/record_effects.h"

namespace pgrejoin {
namespace {
constexpr size_t kHistoryBytesMax = 16 << 20;
}  // namespace

WalLayout LayoutOf(const ControlFile& control) {
  return {&control.version(), control.system_identifier(), control.wal_segment_size()};
}

TimelineHistory ReadTargetHistory(const TargetDirectory& target, TimelineId timeline) {
  if (timeline == 1) return TimelineHistory::Parse(1, {});
  const std::string name = TimelineHistoryFileName(timeline);
  const UniqueFd fd = target.OpenWal(name);
  if (!fd.valid()) {
    throw Error(
        ErrorKind::kNotRewindable, fmt::format("the target has no pg_wal/{}", name),
        "Restore the history file into the target's pg_wal, from the archive or a standby.");
  }
  const auto content = ReadUpTo(fd, kHistoryBytesMax);
  if (!content || content->size() > kHistoryBytesMax) {
    throw Error(ErrorKind::kTargetFailed, fmt::format("could not read history file \"{}\"", name));
  }
  return TimelineHistory::Parse(timeline, *content);
}

TargetWal::TargetWal(const TargetDirectory& target, const ControlFile& control,
                     TimelineHistory history)
    : files_(
          target.FullPath("pg_wal"),
          [&target](const std::string& name) { return target.OpenWal(name); }, std::move(history),
          control.wal_segment_size()),
      reader_(files_, LayoutOf(control)) {}

WalTail FindEndOfWal(WalReader& reader, Lsn from) {
  ReadRecordAt(reader, from);
  WalTail tail;
  tail.last_record = from;
  while (true) {
    const auto next = reader.Next();
    if (const auto* end = std::get_if<EndOfWal>(&next)) {
      tail.end = end->lsn;
      tail.reason = end->reason;
      return tail;
    }
    tail.last_record = std::get<const WalRecord*>(next)->start;
  }
}

CheckPointRecord FindCheckPoint(WalReader& reader, Lsn lsn, const PgVersion& version) {
  Lsn position = lsn;
  while (position.valid()) {
    const WalRecord& record = ReadRecordAt(reader, position);
    if (record.rmgr == kRmgrXlog) {
      const RecordEffect effect = EffectOf(record, version);
      if (const auto* checkpoint = std::get_if<CheckPointEffect>(&effect)) {
        return {record.start, checkpoint->checkpoint};
      }
    }
    position = record.prev;
  }
  throw Error(ErrorKind::kNotRewindable,
              fmt::format("the target's WAL has no checkpoint up to {}", lsn.ToString()));
}

}  // namespace pgrejoin
