#include "rewind/journal.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <concepts>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/kill_point.h"

namespace pgrejoin {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 3;
constexpr size_t kJournalBytesMax = size_t{4} << 30;
constexpr uint64_t kRelationBlocksMax = uint64_t{1} << 32;
// Tables of blocks.
constexpr const char* kBlocks = "blocks";
constexpr const char* kSeen = "blocks_replayed";
constexpr const char* kOverwritten = "blocks_overwritten";
const std::string kDirectory(kOwnDirectory);
const std::string kJournalTemporary = kDirectory + "/journal.tmp";
const std::string kFencedPath = kDirectory + "/fenced";
const std::string kPublishedPath = kDirectory + "/published";

[[noreturn]] void Damaged(const std::string& what) {
  throw Error(ErrorKind::kTargetFailed, "the rewind journal is damaged: " + what,
              "The directory cannot be finished. Clone the target anew.");
}

// Json::get() makes a number of any other: 2^64 - 1 of -1, and of 1e93 whatever the processor
// likes.
template <std::integral Number>
Number NumberFromJson(const Json& json) {
  if (json.is_number_unsigned()) {
    const auto number = json.get<uint64_t>();
    if (std::in_range<Number>(number)) return static_cast<Number>(number);
  } else if (json.is_number_integer()) {
    const auto number = json.get<int64_t>();
    if (std::in_range<Number>(number)) return static_cast<Number>(number);
  }
  Damaged("number");
}

// Writes lines through one buffer and sums them up.
class LineWriter {
 public:
  explicit LineWriter(TargetWriter writer) : writer_(std::move(writer)) {}

  void Line(const Json& json) {
    const std::string text =
        json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::strict) + "\n";
    crc_.Update(AsBytes(text));
    ++lines_;
    Append(text);
  }
  void Finish() {
    Append(Json{{"lines", lines_}, {"crc32c", crc_.Finish()}}.dump() + "\n");
    Flush();
    writer_.Sync();
  }

 private:
  void Append(const std::string& text) {
    buffer_ += text;
    if (buffer_.size() >= 1 << 20) Flush();
  }
  void Flush() {
    writer_.WriteAt(offset_, AsBytes(buffer_));
    offset_ += buffer_.size();
    buffer_.clear();
  }

  TargetWriter writer_;
  std::string buffer_;
  uint64_t offset_ = 0;
  uint64_t lines_ = 0;
  Crc32c crc_;
};

// File names are bytes, JSON is UTF-8: names that are no UTF-8 are kept in hexadecimal.
Json PathJson(const std::string& path) {
  for (const char c : path) {
    if (static_cast<unsigned char>(c) >= 0x80) return Json{{"hex", ToHex(AsBytes(path))}};
  }
  return path;
}

std::string PathFromJson(const Json& json) {
  std::string path;
  if (json.is_string()) {
    path = json.get<std::string>();
  } else if (!FromHex(json.at("hex").get<std::string>(), &path)) {
    Damaged("file name");
  }
  if (const std::string problem = PathProblem(path); !problem.empty()) Damaged(problem);
  return path;
}

Json LocatorJson(const RelFileLocator& locator) {
  return Json::array({locator.tablespace, locator.database, locator.number});
}

RelFileLocator LocatorFromJson(const Json& json) {
  return {NumberFromJson<Oid>(json.at(0)), NumberFromJson<Oid>(json.at(1)),
          NumberFromJson<Oid>(json.at(2))};
}

Json HeadJson(const RewindFacts& facts) {
  return {{"format", kFormat},
          {"program", "pg-rejoin " PG_REJOIN_VERSION},
          {"system_identifier", facts.target_control.system_identifier()},
          {"control", ToHex(facts.target_control.raw())},
          {"target_history", facts.target_history.ToString()},
          {"source_history", facts.source_history.ToString()},
          {"source_flush", facts.source_flush.ToString()},
          {"source_in_recovery", facts.source_in_recovery},
          {"source_incarnation", ToHex(AsBytes(facts.source_incarnation))},
          {"fork_timeline", facts.fork.tli},
          {"fork_lsn", facts.fork.lsn.ToString()},
          {"last_common_record", facts.last_common_record.ToString()},
          {"target_end", facts.target_end.ToString()},
          {"start_lsn", facts.label.start.ToString()},
          {"start_timeline", facts.label.timeline},
          {"checkpoint_lsn", facts.label.checkpoint.ToString()},
          {"start_next_xid", facts.start_next_xid},
          {"first_references_known", facts.first_references.known()},
          {"was_standby", facts.was_standby},
          {"oldest_decided", facts.oldest_decided ? Json(*facts.oldest_decided) : Json()},
          {"discarded_transactions", facts.discarded_transactions},
          {"discarded_bytes", facts.discarded_bytes},
          {"discarded_from", facts.discarded_times ? Json(facts.discarded_times->first) : Json()},
          {"discarded_to", facts.discarded_times ? Json(facts.discarded_times->last) : Json()}};
}

Lsn LsnFromJson(const Json& json) {
  const auto lsn = Lsn::Parse(json.get<std::string>());
  if (!lsn) Damaged("LSN");
  return *lsn;
}

TimelineHistory HistoryFromJson(const Json& json) {
  auto history = TimelineHistory::FromString(json.get<std::string>());
  if (!history) Damaged("timeline history");
  return *std::move(history);
}

RewindFacts FactsFromHead(const Json& head) {
  if (const int format = NumberFromJson<int>(head.at("format")); format != kFormat) {
    throw Error(
        ErrorKind::kTargetFailed,
        fmt::format("the rewind journal has format {}, this program writes {}", format, kFormat),
        "Finish the rewind with the version of pg-rejoin that began it.");
  }
  std::string control;
  if (!FromHex(head.at("control").get<std::string>(), &control)) Damaged("control file");
  RewindFacts facts(ControlFile::Parse(AsBytes(control), "journal's"));
  facts.target_history = HistoryFromJson(head.at("target_history"));
  facts.source_history = HistoryFromJson(head.at("source_history"));
  facts.source_flush = LsnFromJson(head.at("source_flush"));
  facts.source_in_recovery = head.at("source_in_recovery").get<bool>();
  if (!FromHex(head.at("source_incarnation").get<std::string>(), &facts.source_incarnation)) {
    Damaged("incarnation of the source");
  }
  facts.fork = {NumberFromJson<TimelineId>(head.at("fork_timeline")),
                LsnFromJson(head.at("fork_lsn"))};
  facts.last_common_record = LsnFromJson(head.at("last_common_record"));
  facts.target_end = LsnFromJson(head.at("target_end"));
  facts.label.start = LsnFromJson(head.at("start_lsn"));
  facts.label.timeline = NumberFromJson<TimelineId>(head.at("start_timeline"));
  facts.label.checkpoint = LsnFromJson(head.at("checkpoint_lsn"));
  facts.label.ours = true;
  facts.start_next_xid = NumberFromJson<uint64_t>(head.at("start_next_xid"));
  if (!head.at("first_references_known").get<bool>()) facts.first_references.SetUnknown();
  facts.was_standby = head.at("was_standby").get<bool>();
  if (const Json& oldest = head.at("oldest_decided"); !oldest.is_null()) {
    facts.oldest_decided = NumberFromJson<TransactionId>(oldest);
  }
  facts.discarded_transactions = NumberFromJson<uint64_t>(head.at("discarded_transactions"));
  facts.discarded_bytes = NumberFromJson<uint64_t>(head.at("discarded_bytes"));
  if (const Json& from = head.at("discarded_from"); !from.is_null()) {
    facts.discarded_times = {NumberFromJson<PgTimestamp>(from),
                             NumberFromJson<PgTimestamp>(head.at("discarded_to"))};
  }
  return facts;
}

void WriteBlocks(const char* what, const BlockRefTable& table, LineWriter* out) {
  for (const auto& [segment, bitmap] : table.segments()) {
    Json runs = Json::array();
    bitmap.ForEachRun([&](BlockNumber first, BlockNumber count) {
      runs.push_back(Json::array({first, count}));
    });
    out->Line({{what, LocatorJson(segment.locator)},
               {"segment", segment.segment},
               {"runs", std::move(runs)}});
  }
}

template <typename Add>
void ReadBlocks(const char* what, const Json& line, uint64_t blocks_per_segment, const Add& add) {
  const RelFileLocator locator = LocatorFromJson(line.at(what));
  const uint64_t base = NumberFromJson<uint32_t>(line.at("segment")) * blocks_per_segment;
  for (const Json& run : line.at("runs")) {
    const auto first = NumberFromJson<uint64_t>(run.at(0));
    const auto count = NumberFromJson<uint64_t>(run.at(1));
    if (first > blocks_per_segment || count > blocks_per_segment - first ||
        base + first + count > kRelationBlocksMax) {
      Damaged("blocks behind the end of a segment file, or of any relation");
    }
    for (uint64_t block = base + first; block < base + first + count; ++block) {
      add(locator, static_cast<BlockNumber>(block));
    }
  }
}

void ReadFileLine(const Json& line, RewindFacts* facts) {
  TargetFile file;
  file.path = PathFromJson(line.at("file"));
  const std::string type = line.at("type").get<std::string>();
  if (type == "d") {
    file.type = FileType::kDirectory;
  } else if (type == "l") {
    file.type = FileType::kSymlink;
    if (!FromHex(line.at("link").get<std::string>(), &file.link_target)) Damaged("link");
  } else {
    file.size = NumberFromJson<uint64_t>(line.at("size"));
  }
  facts->target_files.push_back(std::move(file));
}

Json FileJson(const TargetFile& file) {
  Json line{{"file", PathJson(file.path)}};
  switch (file.type) {
    case FileType::kDirectory:
      line["type"] = "d";
      break;
    case FileType::kSymlink:
      line["type"] = "l";
      line["link"] = ToHex(AsBytes(file.link_target));
      break;
    case FileType::kRegular:
      line["type"] = "f";
      line["size"] = file.size;
      break;
  }
  return line;
}

void WriteDatabaseCopies(const DatabaseCopies& copies, LineWriter* out) {
  for (const CreateDatabaseByCopyEffect& copy : copies.copies) {
    out->Line({{"database_copy", Json::array({copy.database, copy.tablespace,
                                              copy.template_database, copy.template_tablespace})}});
  }
  for (const Oid database : copies.touched) out->Line({{"database_touched", database}});
}

void ReadLine(const Json& line, RewindFacts* facts) {
  const uint64_t blocks_per_segment = facts->blocks.blocks_per_segment();
  FirstReferences& first = facts->first_references;
  if (line.contains(kBlocks)) {
    ReadBlocks(kBlocks, line, blocks_per_segment,
               [&](const auto& locator, BlockNumber n) { facts->blocks.Add(locator, n); });
  } else if (line.contains(kSeen)) {
    ReadBlocks(kSeen, line, blocks_per_segment,
               [&](const auto& locator, BlockNumber n) { first.AddSeen(locator, n); });
  } else if (line.contains(kOverwritten)) {
    ReadBlocks(kOverwritten, line, blocks_per_segment,
               [&](const auto& locator, BlockNumber n) { first.AddOverwritten(locator, n); });
  } else if (line.contains("file")) {
    ReadFileLine(line, facts);
  } else if (line.contains("created")) {
    facts->created.insert(LocatorFromJson(line.at("created")));
  } else if (line.contains("copied_database")) {
    const Json& oids = line.at("copied_database");
    facts->copied_databases.emplace(NumberFromJson<Oid>(oids.at(0)),
                                    NumberFromJson<Oid>(oids.at(1)));
  } else if (line.contains("database_copy")) {
    const Json& oids = line.at("database_copy");
    facts->copies.copies.push_back(
        {NumberFromJson<Oid>(oids.at(0)), NumberFromJson<Oid>(oids.at(1)),
         NumberFromJson<Oid>(oids.at(2)), NumberFromJson<Oid>(oids.at(3))});
  } else if (line.contains("database_touched")) {
    facts->copies.touched.insert(NumberFromJson<Oid>(line.at("database_touched")));
  } else if (line.contains("truncated")) {
    facts->truncated[LocatorFromJson(line.at("truncated"))] =
        NumberFromJson<BlockNumber>(line.at("to"));
  } else if (line.contains("attempted")) {
    facts->attempted[PathFromJson(line.at("attempted"))] =
        NumberFromJson<uint64_t>(line.at("own_bytes"));
  }
}

Json ParseLine(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) Damaged("line is no JSON object");
  return json;
}

// The content without its last line, once that line's count and CRC agree.
std::string_view CheckedLines(std::string_view content) {
  if (!content.ends_with('\n')) Damaged("cut off");
  content.remove_suffix(1);
  const size_t last = content.rfind('\n');
  if (last == std::string_view::npos) Damaged("cut off");
  const std::string_view lines = content.substr(0, last + 1);
  const Json foot = ParseLine(content.substr(last + 1));
  if (NumberFromJson<uint32_t>(foot.at("crc32c")) != ComputeCrc32c(AsBytes(lines)))
    Damaged("wrong checksum");
  const auto count = static_cast<uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
  if (NumberFromJson<uint64_t>(foot.at("lines")) != count) Damaged("wrong number of lines");
  return lines;
}

}  // namespace

void WriteJournal(TargetDirectory& target, const RewindFacts& facts, const RewindPlan& plan) {
  target.CreateDirectory(kDirectory);
  LineWriter out(target.OpenWriter(kJournalTemporary, /*truncate=*/true));
  out.Line(HeadJson(facts));
  for (const RelFileLocator& locator : facts.created) out.Line({{"created", LocatorJson(locator)}});
  for (const auto& [tablespace, database] : facts.copied_databases) {
    out.Line({{"copied_database", Json::array({tablespace, database})}});
  }
  for (const auto& [locator, blocks] : facts.truncated) {
    out.Line({{"truncated", LocatorJson(locator)}, {"to", blocks}});
  }
  WriteDatabaseCopies(facts.copies, &out);
  WriteBlocks(kBlocks, facts.blocks, &out);
  WriteBlocks(kSeen, facts.first_references.seen(), &out);
  WriteBlocks(kOverwritten, facts.first_references.overwritten(), &out);
  for (const TargetFile& file : facts.target_files) out.Line(FileJson(file));
  for (const auto& [path, own_bytes] : facts.attempted) {
    out.Line({{"attempted", PathJson(path)}, {"own_bytes", own_bytes}});
  }
  for (const PlanEntry& entry : plan.entries) {
    out.Line({{"plan", PathJson(entry.path)},
              {"action", FileActionName(entry.action)},
              {"reason", entry.reason},
              {"bytes", entry.bytes_to_copy}});
  }
  out.Finish();
  KillPoint("journal-written");
  target.Rename(kJournalTemporary, kJournalPath);
  target.SyncPath(kDirectory, FileType::kDirectory);
  target.SyncPath(".", FileType::kDirectory);
  KillPoint("journal-durable");
}

bool JournalExists(const TargetDirectory& target) { return target.Exists(kJournalPath); }

RewindFacts ReadJournal(const TargetDirectory& target) {
  const auto content = target.ReadFile(kJournalPath, kJournalBytesMax);
  if (!content) Damaged("it is gone");
  try {
    std::string_view lines = CheckedLines(*content);
    const auto take_line = [&lines] {
      const size_t newline = lines.find('\n');
      const std::string_view line = lines.substr(0, newline);
      lines.remove_prefix(newline + 1);
      return ParseLine(line);
    };
    RewindFacts facts = FactsFromHead(take_line());
    while (!lines.empty()) ReadLine(take_line(), &facts);
    return facts;
  } catch (const nlohmann::json::exception& error) {
    Damaged(error.what());
  }
}

void NoteFenced(TargetDirectory& target) { target.ReplaceFile(kFencedPath, {}); }
bool WasFenced(const TargetDirectory& target) { return target.Exists(kFencedPath); }

void WritePublished(TargetDirectory& target, const ControlFile& control) {
  target.ReplaceFile(kPublishedPath, control.raw());
}

std::optional<ControlFile> ReadPublished(const TargetDirectory& target) {
  const auto content = target.ReadFile(kPublishedPath, kControlFileBytes);
  if (!content) return std::nullopt;
  return ControlFile::Parse(AsBytes(*content), "journal's");
}

void RemoveLeftovers(TargetDirectory& target) { target.RemoveTree(kDirectory); }

void RemoveJournal(TargetDirectory& target) {
  target.RemoveTree(std::string(kOwnWalDirectory));
  target.Remove(kJournalPath, FileType::kRegular);
  KillPoint("journal-removed");
  target.RemoveTree(kDirectory);
}

}  // namespace pgrejoin
