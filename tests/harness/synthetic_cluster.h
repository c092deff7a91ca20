// Two sides of a failover without a server: a data directory on disk (the old primary) and a source
// in memory (the new one), whose WAL was written by WalBuilder. Small, the same at every run, and
// complete enough for Rewind() from its first byte to its last.
//
//   common:  checkpoint A - block 1 (xid 745) - checkpoint B - block 0 - filler - fork
//   target:  fork - block 3 - relation 16400 created - commit of 745 - filler into the next
//   segments source:  fork - end of recovery - block 5 - commit - filler
#pragma once

#include <filesystem>
#include <string>

#include "harness/fake_source.h"
#include "harness/scratch_directory.h"
#include "pgdata/wal_segment_name.h"
#include "rewind/rewind.h"
#include "unit/pgdata/control_builder.h"
#include "unit/wal/wal_builder.h"

namespace pgrejoin::testing {

struct ClusterOptions {
  unsigned major = 15;
  TimelineId target_timeline = 1;  // 2: was promoted itself, and its old segment is ".partial"
  TimelineId source_timeline = 2;  // 1: never promoted
  DatabaseState target_state = DatabaseState::kInProduction;
  bool target_lags = false;  // the target's WAL ends at the fork
  uint32_t checksums = 1;
  bool wal_log_hints = false;
  RecordSpec in_common = {};  // one more record each, where its main data is not empty
  RecordSpec on_target = {};
  RecordSpec on_source = {};
};

class SyntheticCluster {
 public:
  static constexpr uint32_t kSegment = 1 << 20;
  static constexpr size_t kBlock = 8192;

  explicit SyntheticCluster(ClusterOptions chosen = {})
      : options(chosen),
        common(WalVersion(chosen.major), Lsn{kSegment}),
        target_wal(common),
        source_wal(common) {
    WriteCommon();
    target_wal = common;
    if (!options.target_lags) WriteTargetWal();
    source_wal = common;
    WriteSourceWal();
    FillSource();
  }

  Lsn fork() const { return common.end(); }
  std::string target_history() const { return HistoryText(options.target_timeline); }
  std::string source_history() const { return HistoryText(options.source_timeline); }

  // Writes the target's data directory. It must not exist.
  void WriteTarget(const std::filesystem::path& data) const {
    std::filesystem::create_directories(data);
    std::filesystem::permissions(data, std::filesystem::perms::owner_all);
    for (const auto& [path, content] : TargetFiles()) WriteText(data / path, content);
    for (const char* directory : {"pg_tblspc", "pg_replslot", "pg_wal/archive_status"}) {
      std::filesystem::create_directories(data / directory);
    }
  }

  // The source goes on: everything in source_wal has been flushed.
  void FlushSourceWal() {
    source.identity.flush_lsn = source_wal.end();
    for (const auto& [segment, bytes] : source_wal.files()) {
      const TimelineId timeline = segment >= fork().value / kSegment ? options.source_timeline : 1;
      source.files[Name(timeline, segment)] = SegmentText(source_wal, segment);
    }
  }

  // The source's control file with that checkpoint as its last.
  std::string SourceControl(Lsn checkpoint) const {
    ControlSpec control = Control();
    control.checkpoint_lsn = checkpoint;
    control.redo = checkpoint;
    return MakeControl(control);
  }

  RewindOptions Options() const {
    RewindOptions rewind;
    rewind.connections = 1;
    rewind.sync_with_syncfs = false;
    rewind.create_standby_signal = true;
    rewind.primary_conninfo = "host=source";
    return rewind;
  }

  static std::string Block(char mark, BlockNumber block) {
    return std::string(kBlock, static_cast<char>(mark + static_cast<char>(block)));
  }

  ClusterOptions options;
  WalBuilder common;
  WalBuilder target_wal;
  WalBuilder source_wal;
  Lsn checkpoint_a;
  Lsn checkpoint_b;
  FakeSource source;

 private:
  std::string HistoryText(TimelineId timeline) const {
    return timeline == 1 ? "1@0/0" : "1@0/0," + std::to_string(timeline) + "@" + fork().ToString();
  }
  std::string HistoryFile() const { return "1\t" + fork().ToString() + "\ttest\n"; }

  Lsn AppendCheckPoint(WalBuilder* wal, TimelineId timeline, uint64_t next_xid) {
    std::string payload(88, '\0');
    const MutableBytes bytes = std::as_writable_bytes(std::span(payload));
    StoreLe<uint64_t>(bytes, 0,
                      wal->end().value % 8192 == 0 ? wal->end().value + 40 : wal->end().value);
    StoreLe<uint32_t>(bytes, 8, timeline);
    StoreLe<uint32_t>(bytes, 12, timeline);
    StoreLe<uint8_t>(bytes, 16, 1);
    StoreLe<uint64_t>(bytes, 24, next_xid);
    return wal->Append({.rmgr = 0, .info = 0x00, .main_data = payload});
  }
  static void Commit(WalBuilder* wal, TransactionId xid) {
    wal->Append({.rmgr = 1, .xid = xid, .main_data = std::string(8, '\0')});
  }
  static void Fill(WalBuilder* wal, Lsn until) {
    while (wal->end() < until) wal->AppendOfSize(4000);
  }
  void WriteCommon() {
    checkpoint_a = AppendCheckPoint(&common, 1, 740);
    common.Append({.xid = 745, .blocks = {{.block = 1, .image = Image::kWithHole}}});
    checkpoint_b = AppendCheckPoint(&common, 1, 750);
    common.Append({.xid = 750, .blocks = {{.block = 0, .image = Image::kWithHole}}});
    if (!options.in_common.main_data.empty()) common.Append(options.in_common);
    Fill(&common, Lsn{2 * kSegment + 100'000});
  }
  void WriteTargetWal() {
    target_wal.SetTimeline(options.target_timeline);
    target_wal.Append({.xid = 751, .blocks = {{.block = 3, .data_bytes = 8}}});
    std::string create;
    for (const Oid oid : {1663u, 5u, 16400u}) Put<uint32_t>(&create, oid);
    Put<int32_t>(&create, 0);
    target_wal.Append({.rmgr = 2, .info = 0x11, .main_data = create});
    if (!options.on_target.main_data.empty()) target_wal.Append(options.on_target);
    Commit(&target_wal, 745);
    Fill(&target_wal, Lsn{4 * kSegment + 50'000});
  }
  void WriteSourceWal() {
    source_wal.SetTimeline(options.source_timeline);
    if (options.source_timeline > 1) {
      std::string payload(8, '\0');
      Put<uint32_t>(&payload, options.source_timeline);
      Put<uint32_t>(&payload, 1);
      source_wal.Append({.rmgr = 0, .info = 0x90, .main_data = payload});
    }
    source_wal.Append({.xid = 752, .blocks = {{.block = 5, .data_bytes = 8}}});
    if (!options.on_source.main_data.empty()) source_wal.Append(options.on_source);
    Commit(&source_wal, 752);
    Fill(&source_wal, Lsn{3 * kSegment + 300'000});
  }
  static std::string SegmentText(const WalBuilder& wal, uint64_t segment) {
    return std::string(AsText(std::as_bytes(std::span(wal.files().at(segment)))));
  }
  static std::string Name(TimelineId timeline, uint64_t segment) {
    return "pg_wal/" + WalSegmentName{timeline, segment}.ToString(kSegment);
  }
  ControlSpec Control() const {
    return {.major = options.major,
            .state = DatabaseState::kInProduction,
            .checkpoint_lsn = checkpoint_b,
            .redo = checkpoint_b,
            .next_full_xid = 750,
            .wal_log_hints = options.wal_log_hints,
            .wal_segment_size = kSegment,
            .data_checksum_version = options.checksums};
  }
  std::map<std::string, std::string> SharedFiles() const {
    return {{"PG_VERSION", std::to_string(options.major) + "\n"},
            {"base/5/PG_VERSION", std::to_string(options.major) + "\n"},
            {"base/5/pg_filenode.map", std::string(512, 'm')}};
  }

  void FillSource() {
    source.identity.system_identifier = ControlSpec().system_identifier;
    source.identity.major_version = options.major;
    source.identity.history = *TimelineHistory::FromString(source_history());
    source.identity.full_page_writes = true;
    source.identity.incarnation = "first";
    source.directories = {"base",    "base/5",    "base/6",
                          "global",  "pg_wal",    "pg_wal/archive_status",
                          "pg_xact", "pg_tblspc", "pg_replslot"};
    source.files = SharedFiles();
    std::string relation;
    for (BlockNumber block = 0; block < 10; ++block)
      relation += Block(block == 5 ? 'X' : 'A', block);
    source.files["base/5/16384"] = relation;
    source.files["base/5/16384_vm"] = Block('v', 0);
    source.files["base/5/16500"] = Block('n', 0) + Block('n', 1);
    source.files["base/6/1"] = Block('d', 0);
    source.files["pg_xact/0000"] = std::string(8192, 's');
    source.files["postgresql.auto.conf"] = "port = 1\n";
    source.files["pg_replslot/slot/state"] = "slot";
    source.files["global/pg_control"] = MakeControl(Control());
    FlushSourceWal();
    if (options.source_timeline > 1) {
      source.files["pg_wal/" + TimelineHistoryFileName(options.source_timeline)] = HistoryFile();
    }
  }

  std::map<std::string, std::string> TargetFiles() const {
    std::map<std::string, std::string> files = SharedFiles();
    std::string relation;
    for (BlockNumber block = 0; block < 12; ++block) {
      // What only one's own WAL tells to be changed: 3 by the target. Blocks 0 and 1 carry marks of
      // their own, so that one sees which were fetched.
      relation += Block(block == 3 || block < 2 ? 'T' : 'A', block);
    }
    files["base/5/16384"] = relation;
    files["base/5/16384_vm"] = Block('w', 0) + Block('w', 1);
    files["base/5/16400"] = Block('c', 0);
    files["pg_xact/0000"] = std::string(8192, 't');
    files["pg_xact/0001"] = std::string(8192, 't');
    files["postgresql.conf"] = "# mine\n";
    files["postgresql.auto.conf"] = "work_mem = '1MB'\n";
    files["log/old.log"] = "evidence\n";
    ControlSpec control = Control();
    control.state = options.target_state;
    if (options.target_state == DatabaseState::kArchiveRecovery ||
        options.target_state == DatabaseState::kShutDownInRecovery) {
      control.min_recovery_point = fork();
      control.min_recovery_point_timeline = 1;
    }
    if (options.target_timeline > 1) {
      control.min_recovery_point_timeline = options.target_timeline;
      files["pg_wal/" + TimelineHistoryFileName(options.target_timeline)] = HistoryFile();
      files[Name(1, fork().value / kSegment) + ".partial"] =
          SegmentText(common, fork().value / kSegment);
    }
    files["global/pg_control"] = MakeControl(control);
    for (const auto& [segment, bytes] : target_wal.files()) {
      const TimelineId timeline = segment >= fork().value / kSegment ? options.target_timeline : 1;
      files[Name(timeline, segment)] = SegmentText(target_wal, segment);
    }
    return files;
  }
};

}  // namespace pgrejoin::testing
