#include "rewind/plan_report.h"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "rewind/apply.h"
#include "rewind/divergence.h"
#include "rewind/journal.h"
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

}  // namespace

RewindPlan PlanWithoutChanges(const TargetDirectory& target, const RewindFacts& facts,
                              RewindSource& source, const SourceIdentity& identity,
                              ExtraFiles extra_files) {
  PlanInput input;
  input.facts = &facts;
  input.extra_files = extra_files;
  std::set<std::string> wal_names;
  source.ListFiles([&](SourceFile file) {
    if (file.path.starts_with("pg_wal/")) wal_names.insert(file.path.substr(7));
    input.source_files.push_back(std::move(file));
  });
  target.ListFiles([&](TargetFile file) { input.target_files.push_back(std::move(file)); });
  CheckSourceWalAvailable(wal_names, identity.history, facts.fork.lsn, identity.flush_lsn,
                          facts.target_control.wal_segment_size());
  RemoteWalFiles files(source, identity.history, facts.target_control.wal_segment_size());
  WalReader reader(files, LayoutOf(facts.target_control));
  DatabaseCopies copies = facts.copies;
  const SourceScan scan = ScanSourceWal(reader, facts.fork.lsn, identity.flush_lsn,
                                        facts.target_control.version(), &copies);
  CheckSourceScan(scan, facts.fork.lsn, identity.flush_lsn);
  copies.CheckTemplatesUntouched();
  input.created_on_source = scan.created;
  return MakePlan(input);
}

std::string PlanAsJson(const std::string& pgdata, RewindSource& source,
                       const std::string& blocks_file) {
  const TargetDirectory target = TargetDirectory::OpenForReading(pgdata);
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
  const RewindPlan plan =
      PlanWithoutChanges(target, facts, source, identity, ExtraFiles::kFollowSource);
  json["verdict"] = "rewind";
  json["fork"] = {{"lsn", facts.fork.lsn.ToString()}, {"timeline", facts.fork.tli}};
  json["start"] = {{"lsn", facts.label.start.ToString()},
                   {"checkpoint_lsn", facts.label.checkpoint.ToString()},
                   {"timeline", facts.label.timeline}};
  json["discarded"] = {{"transactions", facts.discarded_transactions},
                       {"wal_bytes", facts.discarded_bytes}};
  json["blocks"] = facts.blocks.Count();
  json["bytes_to_copy"] = plan.bytes_to_copy;
  json["bytes_to_grow"] = plan.bytes_to_grow;
  json["files"] = FilesJson(plan);
  if (!blocks_file.empty()) WriteBlocksFile(facts.blocks, blocks_file);
  return json.dump(2);
}

}  // namespace pgrejoin
