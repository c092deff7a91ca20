// The journal of a rewind. Input: what to add (1: a head in front, 2: the line with the checksum
// behind), text.
#include <algorithm>
#include <memory>

#include "base/crc32c.h"
#include "fuzz/fuzz.h"
#include "fuzz/scratch_file.h"
#include "rewind/journal.h"
#include "target/directory_lock.h"
#include "unit/pgdata/control_builder.h"

namespace pgrejoin::fuzz {
namespace {

// The first line of a journal as it is written now: what is behind it is parsed, whatever the
// format comes to be.
std::string Head(TargetDirectory& target) {
  RewindFacts facts(testing::ParseControl({}));
  facts.target_history = *TimelineHistory::FromString("1@0/0");
  facts.source_history = *TimelineHistory::FromString("1@0/0,2@0/3000000");
  facts.fork = {1, {0x3000000}};
  facts.label = {{0x2000028}, 1, {0x2000028}, true};
  WriteJournal(target, facts, {});
  const std::string journal = *target.ReadFile(kJournalPath, 1 << 20);
  return journal.substr(0, journal.find('\n') + 1);
}

std::string Foot(std::string_view lines) {
  return R"({"lines":)" + std::to_string(std::ranges::count(lines, '\n')) + R"(,"crc32c":)" +
         std::to_string(ComputeCrc32c(AsBytes(lines))) + "}\n";
}

bool SameRuns(const BlockRefTable& a, const BlockRefTable& b) {
  const auto runs = [](const BlockRefTable& table) {
    std::vector<std::pair<RelationSegment, std::pair<BlockNumber, BlockNumber>>> all;
    for (const auto& [segment, bitmap] : table.segments()) {
      bitmap.ForEachRun([&, at = segment](BlockNumber first, BlockNumber count) {
        all.push_back({at, {first, count}});
      });
    }
    return all;
  };
  return runs(a) == runs(b);
}

void CheckSame(const RewindFacts& a, const RewindFacts& b) {
  Require(std::ranges::equal(a.target_control.raw(), b.target_control.raw()), "control file");
  Require(a.target_history == b.target_history && a.source_history == b.source_history,
          "histories");
  Require(a.fork.lsn == b.fork.lsn && a.fork.tli == b.fork.tli, "fork");
  Require(a.target_end == b.target_end, "end of the target");
  Require(a.source_flush == b.source_flush && a.source_in_recovery == b.source_in_recovery &&
              a.source_incarnation == b.source_incarnation,
          "source");
  Require(a.last_common_record == b.last_common_record && a.start_next_xid == b.start_next_xid,
          "fork and start");
  Require(a.was_standby == b.was_standby && a.oldest_decided == b.oldest_decided, "standby");
  Require(a.discarded_transactions == b.discarded_transactions &&
              a.discarded_bytes == b.discarded_bytes &&
              a.discarded_times.has_value() == b.discarded_times.has_value(),
          "what is discarded");
  Require(a.attempted == b.attempted, "attempted files");
  Require(SameRuns(a.first_references.seen(), b.first_references.seen()) &&
              SameRuns(a.first_references.overwritten(), b.first_references.overwritten()) &&
              a.first_references.known() == b.first_references.known(),
          "first references");
  Require(a.label.start == b.label.start && a.label.checkpoint == b.label.checkpoint, "label");
  Require(SameRuns(a.blocks, b.blocks), "changed blocks");
  Require(a.created == b.created && a.truncated == b.truncated, "relations");
  Require(a.copied_databases == b.copied_databases, "databases");
  Require(a.copies.touched == b.copies.touched, "touched databases");
  Require(a.copies.copies.size() == b.copies.copies.size(), "copies of databases");
  Require(a.target_files.size() == b.target_files.size(), "files");
  for (size_t i = 0; i < a.target_files.size(); ++i) {
    const TargetFile& x = a.target_files[i];
    const TargetFile& y = b.target_files[i];
    Require(
        x.path == y.path && x.type == y.type && x.size == y.size && x.link_target == y.link_target,
        "a file");
    Require(PathProblem(x.path).empty(), "paths stay below the data directory");
  }
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  static const ScratchFile file("data/pg_rejoin/journal");
  static const DirectoryLock lock = DirectoryLock::Acquire(file.root() + "/data");
  static TargetDirectory target = TargetDirectory::OpenForChange(lock);
  static const std::string head = Head(target);
  static const bool whole_is_read = [] {
    file.Write(head + Foot(head));
    return Accepts([] { ReadJournal(target); });
  }();
  Require(whole_is_read, "a journal of nothing but the head is read: what follows it is, too");

  Input input(data, size);
  const uint8_t options = input.Take<uint8_t>();
  std::string content((options & 1) != 0 ? head : "");
  content += input.Rest();
  if ((options & 2) != 0) {
    if (!content.ends_with('\n')) content += '\n';
    content += Foot(content);
  }
  file.Write(content);
  std::unique_ptr<RewindFacts> facts;
  const bool accepted =
      Accepts([&] { facts = std::make_unique<RewindFacts>(ReadJournal(target)); });
  if (!accepted) return 0;
  WriteJournal(target, *facts, {});
  CheckSame(*facts, ReadJournal(target));
  return 0;
}
