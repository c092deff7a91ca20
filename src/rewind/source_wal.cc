#include "rewind/source_wal.h"

#include <spdlog/fmt/fmt.h>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/file_access.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "pgdata/wal_segment_name.h"
#include "rewind/copier.h"
#include "rewind/divergence.h"
#include "rewind/target_wal.h"

namespace pgrejoin {
namespace {

constexpr uint64_t kPageBytes = 8192;
constexpr size_t kCopyBytes = 1 << 20;
// A run that is killed keeps the WAL up to the first gap, so no connection may run far ahead.
constexpr uint64_t kFetchBytes = 256 << 10;
constexpr uint64_t kFetchAloneBytes = 4 << 20;
constexpr size_t kFetchesAhead = 12;
constexpr size_t kHistoryBytesMax = 16 << 20;

const std::string kDirectory(kOwnWalDirectory);
const std::string kStagedDirectory = kDirectory + "/source";
// The line that staged segments are of: they are worthless for another one.
const std::string kLinePath = kDirectory + "/line";
const std::string kAsideDirectory(kDivergedWalDirectory);
const std::string kSuperseded = kDirectory + "/superseded";
const std::string kAsideDone = kDirectory + "/diverged.done";
constexpr size_t kLineBytesMax = 1 << 20;

std::string StagedPath(const std::string& name) { return kStagedDirectory + "/" + name; }
std::string RestoredPath(const std::string& name) {
  return fmt::format("{}/{}", kRestoredWalDirectory, name);
}
std::string StatusPath(const std::string& name, const char* status) {
  return fmt::format("pg_wal/archive_status/{}.{}", name, status);
}

[[noreturn]] void ThrowForeignInArchive(const std::string& what) {
  throw Error(
      ErrorKind::kNotRewindable, "the archive that \"restore_command\" reads has " + what,
      "Recovery would take it before what the source has. Another server has archived there: "
      "remove its files, or give restore_command an archive of the source's line alone.");
}

}  // namespace

void ForgetStagedWal(TargetDirectory& target) { target.Remove(kLinePath, FileType::kRegular); }

SourceWal::SourceWal(RewindSource& source, TargetDirectory& target, const RewindFacts& facts,
                     const TimelineHistory& history)
    : source_(source),
      target_(target),
      facts_(facts),
      history_(history),
      fork_(facts.fork),
      line_(fmt::format("{} from {}\n", history.ToString(), facts.fork.lsn.ToString())),
      line_begun_(target.ReadFile(kLinePath, kLineBytesMax) == line_),
      installed_(line_begun_ && target.Exists(kAsideDone)),
      segment_size_(facts.target_control.wal_segment_size()) {}

std::optional<std::string> ReadHistoryFile(RewindSource& source, const TimelineHistory& line,
                                           TimelineId timeline) {
  const std::string path = "pg_wal/" + TimelineHistoryFileName(timeline);
  auto content = source.ReadFile(path, kHistoryBytesMax);
  if (!content) return std::nullopt;
  const TimelineHistory found = TimelineHistory::Parse(timeline, *content);
  if (!line.ContainsBranch(found)) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("the source's {} is not of its own line: {} instead of {}", path,
                            found.ToString(), line.ToString()));
  }
  return content;
}

// The newest timeline that reaches into the segment: what the source itself writes or wrote there,
// with the older timeline's part copied to its front (XLogFileCopy at promotion).
std::string SourceWal::SourceName(uint64_t segment) const {
  return SegmentFileCandidates(history_, segment, segment_size_).front();
}

LocalWalFiles SourceWal::OpenStaged() const {
  return LocalWalFiles(
      target_.FullPath(kStagedDirectory),
      [this](const std::string& name) {
        UniqueFd fd = target_.OpenFile(StagedPath(name));
        if (!fd.valid() && installed_) fd = target_.OpenFile("pg_wal/" + name);
        return fd;
      },
      history_, segment_size_);
}

// An attempt with another line may have staged segments, and moved some into pg_wal: those are set
// aside with the target's own.
void SourceWal::BeginLine() {
  installed_ = false;
  target_.Remove(kAsideDone, FileType::kRegular);
  target_.RemoveTree(kStagedDirectory);
  target_.CreateDirectory(kDirectory);
  target_.CreateDirectory(kStagedDirectory);
  target_.ReplaceFile(kLinePath, AsBytes(line_));
  line_begun_ = true;
  KillPoint("line-begun");
}

void SourceWal::StagePrefix() {
  const uint64_t segment = SegmentOf(fork_.lsn);
  const std::string staged = StagedPath(SourceName(segment));
  LocalWalFiles own(
      target_.FullPath("pg_wal"), [this](const std::string& name) { return target_.OpenWal(name); },
      facts_.target_history, segment_size_);
  TargetWriter writer = target_.OpenWriter(staged, /*truncate=*/false);
  CopySegmentPart(own, segment, fork_.lsn.value % segment_size_, writer);
}

void SourceWal::CopySegmentPart(WalFiles& from, uint64_t segment, uint64_t end,
                                TargetWriter& writer) const {
  std::vector<std::byte> buffer(kCopyBytes);
  for (uint64_t offset = 0; offset < end; offset += buffer.size()) {
    const MutableBytes piece =
        MutableBytes(buffer).first(std::min<uint64_t>(buffer.size(), end - offset));
    const size_t got = from.Read(segment, static_cast<uint32_t>(offset), piece);
    if (got < piece.size()) {
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("WAL segment {} is incomplete", SourceName(segment)));
    }
    writer.WriteAt(offset, piece);
  }
}

std::vector<std::string> SourceWal::NamesForReplay(uint64_t segment) const {
  return SegmentFileCandidates(facts_.target_history, segment, segment_size_);
}

// What of the target's own WAL replay needs and only its archive has. Durable before the journal:
// an attempt that finishes the rewind may know of no archive.
void SourceWal::StageForReplay() {
  for (uint64_t segment = SegmentOf(facts_.label.start); segment < SegmentOf(fork_.lsn);
       ++segment) {
    const auto names = NamesForReplay(segment);
    const auto in_place = [this](const std::string& name) {
      return target_.Exists("pg_wal/" + name);
    };
    if (std::ranges::any_of(names, in_place)) continue;
    const auto restored = [this](const std::string& name) { return target_.OpenWal(name).valid(); };
    const auto found = std::ranges::find_if(names, restored);
    if (found == names.end()) {
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("the target's WAL segment {} is gone", names.front()));
    }
    target_.SyncPath(RestoredPath(*found), FileType::kRegular);
    for (const std::string& directory :
         {std::string(kRestoredWalDirectory), kDirectory, std::string("pg_wal")}) {
      target_.SyncPath(directory, FileType::kDirectory);
    }
  }
}

void SourceWal::Stage(Lsn flush, const SourceScan& known, const SourceWalOptions& options) {
  if (!line_begun_) BeginLine();
  if (!installed_) {
    StageForReplay();
    StagePrefix();
  }
  DatabaseCopies ignored;
  // Records are proof of their own bytes: whatever decodes need not be fetched again.
  const Lsn have = ContinueScan(known, flush, &ignored).end;
  if (flush > have && flush - have > target_.FileSystemOf(kLinePath).free_bytes) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("the source's WAL from {} to {} needs more disk space than there is",
                            have.ToString(), flush.ToString()),
                "Enlarge the volume or remove what is not the database's.");
  }
  Fetch(have, flush, options);
}

void SourceWal::Fetch(Lsn from, Lsn flush, const SourceWalOptions& options) {
  const int connections = std::min<int>(options.connections, kFetchesAhead);
  // One connection leaves no gap, and a round trip for each small piece would only make it slow.
  const CopierOptions in_order{.connections = connections,
                               .stop = options.stop,
                               .batch_bytes = connections == 1 ? kFetchAloneBytes : kFetchBytes,
                               .batches_ahead = kFetchesAhead};
  Copier copier(source_, target_, in_order,
                [&](const CopyRange&, uint64_t bytes) { options.on_bytes(bytes); });
  const uint64_t first = SegmentOf(from);
  const uint64_t first_offset = from.value % segment_size_ / kPageBytes * kPageBytes;
  for (uint64_t segment = first; segment * segment_size_ < flush.value; ++segment) {
    const std::string name = SourceName(segment);
    const std::string staged = StagedPath(name);
    if (installed_ && !target_.Exists(staged) && target_.Exists("pg_wal/" + name)) {
      target_.Rename("pg_wal/" + name, staged);
    }
    const uint64_t offset = segment == first ? first_offset : 0;
    const uint64_t end = std::min<uint64_t>(segment_size_, flush.value - segment * segment_size_);
    // Zeros past the flush position: what the source has there may never become durable.
    TargetWriter writer = target_.OpenWriter(staged, /*truncate=*/false);
    writer.SetLength(offset);
    writer.SetLength(segment_size_);
    if (offset < end) {
      copier.Add({"pg_wal/" + name, staged, offset, static_cast<uint32_t>(end - offset)});
    }
  }
  const CopyShortfall shortfall = copier.Finish();
  if (!shortfall.vanished.empty() || !shortfall.shortened_to.empty()) {
    throw Error(ErrorKind::kNotRewindable, "the source removed WAL while it was fetched",
                "Raise wal_keep_size on the source and try again.");
  }
}

bool SourceWal::StagedIsTheirs(Lsn flush) const {
  DatabaseCopies ignored;
  const Lsn last = line_begun_ ? Scan(flush, &ignored, nullptr).last_record : Lsn{};
  if (!last.valid()) return false;
  LocalWalFiles files = OpenStaged();
  const WalLayout layout = LayoutOf(facts_.target_control);
  WalReader reader(files, layout);
  return CompareRecord(source_, history_, layout, ReadRecordAt(reader, last)) == SameRecord::kSame;
}

// Replay would stop at a page of any other timeline.
WalLayout SourceWal::StagedLayout() const {
  WalLayout layout = LayoutOf(facts_.target_control);
  for (const TimelineEntry& entry : history_.entries()) layout.timelines.push_back(entry.tli);
  return layout;
}

SourceScan SourceWal::Scan(Lsn flush, DatabaseCopies* copies,
                           FirstReferences* first_references) const {
  LocalWalFiles files = OpenStaged();
  WalReader reader(files, StagedLayout());
  return ScanSourceWal(reader, fork_.lsn, flush, facts_.target_control.version(), copies,
                       first_references);
}

SourceScan SourceWal::ContinueScan(const SourceScan& known, Lsn flush,
                                   DatabaseCopies* copies) const {
  LocalWalFiles files = OpenStaged();
  WalReader reader(files, StagedLayout());
  SourceScan scan =
      ContinueSourceScan(reader, known, fork_.lsn, flush, facts_.target_control.version(), copies);
  if (scan.end >= known.end) return scan;
  // A fetch that was cut short has taken something away: what was known does not hold.
  *copies = facts_.copies;
  return Scan(flush, copies, nullptr);
}

void SourceWal::CheckArchivedHistories(const TargetDirectory::WalArchiveLookup& archive,
                                       Lsn flush) const {
  const auto archived = [&](TimelineId timeline) -> std::optional<TimelineHistory> {
    const UniqueFd fd = archive(TimelineHistoryFileName(timeline));
    if (!fd.valid()) return std::nullopt;
    const auto content = ReadUpTo(fd, kHistoryBytesMax);
    if (!content) throw SystemError(ErrorKind::kTargetFailed, "could not read restored file");
    return TimelineHistory::Parse(timeline, *content);
  };
  const auto foreign = [](const TimelineHistory& history) {
    ThrowForeignInArchive(fmt::format("{}, which is not of the source's line ({})",
                                      TimelineHistoryFileName(history.timeline()),
                                      history.ToString()));
  };
  for (const TimelineEntry& entry : history_.entries()) {
    if (entry.tli == 1) continue;
    const auto theirs = archived(entry.tli);
    if (theirs && !history_.ContainsBranch(*theirs)) foreign(*theirs);
  }
  // As findNewestTimeLine() counts.
  for (TimelineId timeline = history_.timeline() + 1;; ++timeline) {
    const auto theirs = archived(timeline);
    if (!theirs) return;
    const auto fork = FindForkPoint(*theirs, history_);
    if (!fork || fork->tli != history_.timeline() || fork->lsn < flush) foreign(*theirs);
  }
}

void SourceWal::CheckArchive(const TargetDirectory::WalArchiveLookup& archive, Lsn begin,
                             Lsn flush) const {
  CheckArchivedHistories(archive, flush);
  LocalWalFiles ours = OpenStaged();
  std::vector<std::byte> own(kCopyBytes);
  std::vector<std::byte> theirs(kCopyBytes);
  UniqueFd fd;
  for (uint64_t at = begin.value; at < flush.value;) {
    const uint64_t segment = at / segment_size_;
    const uint64_t offset = at % segment_size_;
    if (at == begin.value || offset == 0) fd = archive(SourceName(segment));
    const uint64_t end = std::min<uint64_t>((segment + 1) * segment_size_, flush.value);
    const auto length = static_cast<size_t>(std::min<uint64_t>(end - at, kCopyBytes));
    const MutableBytes piece = MutableBytes(own).first(length);
    const bool same =
        !fd.valid() || (ReadAt(fd, offset, MutableBytes(theirs).first(length)) == length &&
                        ours.Read(segment, static_cast<uint32_t>(offset), piece) == length &&
                        std::equal(piece.begin(), piece.end(), theirs.begin()));
    if (!same) {
      ThrowForeignInArchive(
          fmt::format("{} with other WAL than the source's", SourceName(segment)));
    }
    at = fd.valid() ? at + length : end;
  }
}

// Own segments up to the fork, on the timelines that both share.
bool SourceWal::KeepsTargetFile(const std::string& name) const {
  const auto segment = WalSegmentName::Parse(name, segment_size_);
  if (!segment) return true;
  if (segment->segment > SegmentOf(fork_.lsn)) return false;
  for (const TimelineEntry& entry : facts_.target_history.entries()) {
    if (entry.tli == segment->tli) return entry.tli <= fork_.tli;
  }
  return false;
}

void SourceWal::SetDivergedAside() {
  if (target_.Exists(kAsideDone)) return;
  target_.CreateDirectory(kAsideDirectory);
  target_.CreateDirectory("pg_wal/archive_status");
  std::vector<std::string> names;
  std::set<std::string> statuses;
  target_.ListFiles([&](TargetFile file) {
    if (file.type != FileType::kRegular || !file.path.starts_with("pg_wal/")) return;
    const std::string name = file.path.substr(7);
    if (name.find('/') == std::string::npos) names.push_back(name);
    if (name.starts_with("archive_status/")) statuses.insert(name.substr(15));
  });
  for (const std::string& name : names) {
    const bool history = name.ends_with(".history");
    const bool partial = name.size() > WalSegmentName::kLength;
    const std::string segment = name.substr(0, WalSegmentName::kLength);
    bool keep = KeepsTargetFile(segment);
    if (history) {
      // Recovery follows the newest history file it finds: only the source's may be there.
      keep = std::any_of(history_.entries().begin(), history_.entries().end(), [&](const auto& e) {
        return e.tli <= fork_.tli && name == TimelineHistoryFileName(e.tli);
      });
    }
    if (keep) {
      MarkArchived(name, statuses);
      continue;
    }
    if (target_.Exists(kAsideDirectory + "/" + name)) {
      // The target's own is there; this one is of a source that is not followed any more.
      target_.Remove("pg_wal/" + name, FileType::kRegular);
    } else {
      target_.Rename("pg_wal/" + name, kAsideDirectory + "/" + name);
    }
    for (const char* status : {"ready", "done"}) {
      if (statuses.contains(fmt::format("{}.{}", name, status))) {
        target_.Remove(StatusPath(name, status), FileType::kRegular);
      }
    }
    if (!partial && !history) LogDebug("set WAL segment {} aside: not on the source's line", name);
  }
  const std::string at_fork =
      WalSegmentName{fork_.tli, SegmentOf(fork_.lsn)}.ToString(segment_size_);
  ZeroAfterFork(at_fork);
  // From here on the part before the fork is not taken from the target's own file any more.
  target_.SyncPath(StagedPath(SourceName(SegmentOf(fork_.lsn))), FileType::kRegular);
  target_.SyncPath(kAsideDirectory, FileType::kDirectory);
  target_.SyncPath("pg_wal", FileType::kDirectory);
  target_.ReplaceFile(kAsideDone, {});
  KillPoint("diverged-wal-aside");
}

// Without a status file a promoted server archives the segment, or the NAME.partial or
// NAME.*.backup of one, maybe for the second time: Patroni removes all status files before a
// rewind, and a command that overwrites nothing then fails for ever. What is still to be archived
// stays so: the target's copy may be the only one.
void SourceWal::MarkArchived(const std::string& name, const std::set<std::string>& statuses) {
  if (!WalSegmentName::Parse(name.substr(0, WalSegmentName::kLength)) ||
      statuses.contains(name + ".ready") || statuses.contains(name + ".done")) {
    return;
  }
  target_.OpenWriter(StatusPath(name, "done"), /*truncate=*/false);
}

void SourceWal::ZeroAfterFork(const std::string& name) {
  const std::string path = "pg_wal/" + name;
  if (!target_.Exists(path)) return;
  TargetWriter writer = target_.OpenWriter(path, /*truncate=*/false);
  writer.SetLength(fork_.lsn.value % segment_size_);
  writer.SetLength(segment_size_);
  writer.Sync();
  // Never archived in this state: the whole segment is the new timeline's matter.
  target_.Remove(StatusPath(name, "ready"), FileType::kRegular);
  target_.OpenWriter(StatusPath(name, "done"), /*truncate=*/false);
}

void SourceWal::FetchHistories() {
  for (const TimelineEntry& entry : history_.entries()) {
    if (entry.tli == 1) continue;
    const std::string path = "pg_wal/" + TimelineHistoryFileName(entry.tli);
    if (entry.tli <= fork_.tli && target_.Exists(path)) continue;
    if (const auto content = ReadHistoryFile(source_, history_, entry.tli)) {
      target_.ReplaceFile(path, AsBytes(*content));
    }
  }
}

// Each segment that the target's archive gave has been archived.
void SourceWal::InstallForReplay() {
  for (uint64_t segment = SegmentOf(facts_.label.start); segment < SegmentOf(fork_.lsn);
       ++segment) {
    for (const std::string& name : NamesForReplay(segment)) {
      if (!target_.Exists(RestoredPath(name))) continue;
      target_.OpenWriter(StatusPath(name, "done"), /*truncate=*/true);
      target_.Rename(RestoredPath(name), "pg_wal/" + name);
    }
  }
}

void SourceWal::Install(Lsn end) {
  FetchHistories();
  InstallForReplay();
  for (uint64_t segment = SegmentOf(fork_.lsn); segment * segment_size_ < end.value; ++segment) {
    const std::string name = SourceName(segment);
    if (!target_.Exists(StagedPath(name))) continue;  // moved by an interrupted run
    // The source archives its own segments; a second copy would fail or overwrite.
    target_.OpenWriter(StatusPath(name, "done"), /*truncate=*/true);
    target_.Rename(StagedPath(name), "pg_wal/" + name);
    KillPoint("wal-segment-installed");
  }
  InstallSuperseded(end);
}

// Where a timeline ends inside a segment, recovery reads its records from the next timeline's file,
// which begins with a copy of them. But the state of a prepared transaction it reads, as long as it
// replays the old timeline, from the file of that name (XLogReadDetermineTimeline in xlogutils.c).
void SourceWal::InstallSuperseded(Lsn end) {
  LocalWalFiles installed(
      target_.FullPath("pg_wal"),
      [this](const std::string& name) { return target_.OpenFile("pg_wal/" + name); }, history_,
      segment_size_);
  const auto& entries = history_.entries();
  for (size_t next = 1; next < entries.size(); ++next) {
    const Lsn switched = entries[next].begin;
    const uint64_t offset = switched.value % segment_size_;
    if (switched < fork_.lsn || end < switched || offset == 0) continue;
    const uint64_t segment = SegmentOf(switched);
    const std::string name = WalSegmentName{entries[next - 1].tli, segment}.ToString(segment_size_);
    target_.OpenWriter(StatusPath(name, "done"), /*truncate=*/true);
    // By a rename: at the fork the target's own file has that name, and a later attempt may read
    // it.
    TargetWriter writer = target_.OpenWriter(kSuperseded, /*truncate=*/true);
    CopySegmentPart(installed, segment, offset, writer);
    writer.SetLength(segment_size_);
    writer.Sync();
    target_.Rename(kSuperseded, "pg_wal/" + name);
  }
}

void CheckSourceWalAvailable(const std::set<std::string>& listed, const TimelineHistory& history,
                             Lsn fork, Lsn flush, uint32_t segment_size) {
  for (uint64_t segment = fork.value / segment_size; segment * segment_size < flush.value;
       ++segment) {
    const std::string name = SegmentFileCandidates(history, segment, segment_size).front();
    if (listed.contains(name)) continue;
    throw Error(
        ErrorKind::kNotRewindable,
        fmt::format("the source no longer has WAL segment {}, which is needed from the fork "
                    "at {} on",
                    name, fork.ToString()),
        "Restore it into the source's pg_wal, or clone the target anew. A larger "
        "wal_keep_size prevents this.");
  }
}

RemoteWalFiles::RemoteWalFiles(RewindSource& source, TimelineHistory history, uint32_t segment_size)
    : reader_(source.OpenReader()), history_(std::move(history)), segment_size_(segment_size) {}

size_t RemoteWalFiles::Read(uint64_t segment, uint32_t offset, MutableBytes out) {
  for (const std::string& name : SegmentFileCandidates(history_, segment, segment_size_)) {
    const FetchRequest request{"pg_wal/" + name, offset, static_cast<uint32_t>(out.size())};
    size_t got = 0;
    bool found = false;
    reader_->Fetch({&request, 1}, [&](const FetchRequest&, Bytes data, bool missing) {
      found = !missing;
      got = data.size();
      std::copy(data.begin(), data.end(), out.begin());
    });
    if (found) return got;
  }
  return 0;
}

}  // namespace pgrejoin
