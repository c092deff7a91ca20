#include "rewind/plan_report.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "rewind/apply.h"
#include "rewind/divergence.h"
#include "rewind/journal.h"
#include "rewind/same_files.h"
#include "rewind/source_wal.h"

namespace pgrejoin {
namespace {

using Json = nlohmann::ordered_json;

void WriteBlocksFile(const BlockRefTable& table, const std::string& path) {
  std::ofstream out(path);
  for (const auto& [segment, bitmap] : table.segments()) {
    const uint64_t base = uint64_t{segment.segment} * table.blocks_per_segment();
    bitmap.ForEachRun([&](BlockNumber first, BlockNumber count) {
      for (uint64_t block = base + first; block < base + first + count; ++block) {
        out << segment.locator.ToString() << ' ' << block << '\n';
      }
    });
  }
  out.flush();
  if (!out) throw Error(ErrorKind::kUsage, "could not write \"" + path + "\"");
}

Json FilesJson(const RewindPlan& plan) {
  std::map<FileAction, std::pair<uint64_t, uint64_t>> totals;
  Json paths = Json::array();
  for (const PlanEntry& entry : plan.entries) {
    auto& [files, bytes] = totals[entry.action];
    ++files;
    bytes += entry.bytes_to_copy;
    if (entry.action == FileAction::kKeep) continue;
    paths.push_back({{"path", Printable(entry.path)},
                     {"action", FileActionName(entry.action)},
                     {"reason", entry.reason},
                     {"bytes", entry.bytes_to_copy}});
  }
  Json files;
  for (const auto& [action, total] : totals) {
    files[FileActionName(action)] = {{"files", total.first}, {"bytes", total.second}};
  }
  return {{"actions", std::move(files)}, {"changed", std::move(paths)}};
}

Json WalPart(Lsn from, Lsn to, const char* where) {
  return {{"from", from.ToString()}, {"to", to.ToString()}, {"where", where}, {"bytes", to - from}};
}

// Where each part of the WAL that replay will need is now.
Json WalJson(const TargetDirectory& target, const RewindFacts& facts, Lsn flush) {
  const uint32_t segment_size = facts.target_control.wal_segment_size();
  const Lsn fork = facts.fork.lsn;
  Json parts = Json::array();
  Lsn from = facts.label.start;
  const char* from_where = nullptr;
  for (uint64_t segment = from.value / segment_size; segment * segment_size < fork.value;
       ++segment) {
    const auto names = SegmentFileCandidates(facts.target_history, segment, segment_size);
    const bool here = std::ranges::any_of(
        names, [&](const std::string& name) { return target.Exists("pg_wal/" + name); });
    const char* where = here ? "target" : "archive";
    const Lsn begin{std::max(segment * segment_size, from.value)};
    if (from_where != nullptr && where != from_where) {
      parts.push_back(WalPart(from, begin, from_where));
      from = begin;
    }
    from_where = where;
  }
  if (from < fork) parts.push_back(WalPart(from, fork, from_where));
  parts.push_back(WalPart(fork, flush, "source"));
  return parts;
}

Json TimeJson(const std::optional<CommitTimes>& times, PgTimestamp CommitTimes::*which) {
  return times ? Json(FormatTimestamp(*times.*which)) : Json();
}

}  // namespace

RewindPlan PlanWithoutChanges(const TargetDirectory& target, const RewindFacts& facts,
                              RewindSource& source, const SourceIdentity& identity,
                              const RewindOptions& options) {
  PlanInput input;
  input.facts = &facts;
  input.extra_files = options.extra_files;
  const std::set<std::string> wal_names = ListFiles(target, source, &input);
  CheckSourceWalAvailable(wal_names, identity.history, facts.fork.lsn, identity.flush_lsn,
                          facts.target_control.wal_segment_size());
  RemoteWalFiles files(source, identity.history, facts.target_control.wal_segment_size());
  WalReader reader(files, LayoutOf(facts.target_control));
  DatabaseCopies copies = facts.copies;
  FirstReferences references(facts.blocks.blocks_per_segment());
  const SourceScan scan = ScanSourceWal(reader, facts.fork.lsn, identity.flush_lsn,
                                        facts.target_control.version(), &copies, &references);
  CheckSourceScan(scan, facts.fork.lsn, identity.flush_lsn);
  copies.CheckTemplatesUntouched();
  input.created_on_source = scan.created;
  input.database_copies = copies.copies;
  if (!options.copy_replayed_blocks) input.source_references = &references;
  RewindPlan plan = MakePlan(input);
  if (!options.copy_same_files) {
    KeepSameFiles(target, source, {options.connections, options.stop}, &plan);
  }
  return plan;
}

std::string PlanAsJson(const TargetDirectory& target, RewindSource& source,
                       const std::string& blocks_file) {
  if (JournalExists(target)) {
    return Json{{"verdict", "resume"}, {"reason", "an interrupted rewind is to be finished first"}}
        .dump(2);
  }
  const LocalState local = ReadLocalState(target);
  const SourceIdentity identity = source.Identify();
  const ControlFile source_control = ReadControlOf(source);
  CheckCompatible(local.control, source_control);
  const Divergence divergence = FindDivergence(local, identity);
  Json json = {
      {"system_identifier", std::to_string(local.control.system_identifier())},
      {"major_version", local.control.version().major},
      {"target", {{"timeline", local.history.timeline()}, {"history", local.history.ToString()}}},
      {"source",
       {{"timeline", identity.history.timeline()},
        {"history", identity.history.ToString()},
        {"flush_lsn", identity.flush_lsn.ToString()}}},
      {"end", {{"lsn", local.tail.end.ToString()}}}};
  if (!divergence.diverged) {
    json["verdict"] = "nothing to do";
    return json.dump(2);
  }
  CheckRewindable(local.control, identity, source_control, /*standby_source=*/true);
  const RewindFacts facts =
      SurveyTarget(target, local, divergence.fork, source, identity, source_control);
  const RewindPlan plan = PlanWithoutChanges(target, facts, source, identity, RewindOptions());
  json["verdict"] = "rewind";
  json["fork"] = {{"lsn", facts.fork.lsn.ToString()}, {"timeline", facts.fork.tli}};
  json["start"] = {{"lsn", facts.label.start.ToString()},
                   {"checkpoint_lsn", facts.label.checkpoint.ToString()},
                   {"timeline", facts.label.timeline}};
  json["discarded"] = {{"transactions", facts.discarded_transactions},
                       {"first_commit", TimeJson(facts.discarded_times, &CommitTimes::first)},
                       {"last_commit", TimeJson(facts.discarded_times, &CommitTimes::last)},
                       {"wal_bytes", facts.discarded_bytes}};
  json["wal"] = WalJson(target, facts, identity.flush_lsn);
  json["blocks"] = facts.blocks.Count();
  json["bytes_to_copy"] = plan.bytes_to_copy;
  json["bytes_to_grow"] = plan.bytes_to_grow;
  json["bytes_replayed"] = plan.bytes_replayed;
  json["bytes_same"] = plan.bytes_same;
  json["files"] = FilesJson(plan);
  if (!blocks_file.empty()) WriteBlocksFile(facts.blocks, blocks_file);
  return json.dump(2);
}

}  // namespace pgrejoin
