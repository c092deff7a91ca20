#include "rewind/journal.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "harness/scratch_directory.h"
#include "unit/pgdata/control_builder.h"

namespace pgrejoin {
namespace {

using testing::ControlSpec;
using testing::ParseControl;
using testing::ReadText;
using testing::WriteText;

class Journal : public ::testing::Test {
 protected:
  Journal()
      : lock_((std::filesystem::create_directory(scratch_ / "data"),
               DirectoryLock::Acquire((scratch_ / "data").string()))),
        target_(TargetDirectory::OpenForChange(lock_)) {}

  static RewindFacts Facts() {
    RewindFacts facts(ParseControl({.major = 17, .state = DatabaseState::kInProduction}));
    facts.target_history = *TimelineHistory::FromString("1@0/0,3@0/3000148");
    facts.source_history = *TimelineHistory::FromString("1@0/0,2@0/3000200");
    facts.source_flush = {0x1'06000000};
    facts.source_in_recovery = true;
    facts.source_incarnation = "2026-11-21 15:00:00.123+00";
    facts.fork = {1, {0x3000148}};
    facts.last_common_record = {0x3000110};
    facts.target_end = {0x1'05000000};
    facts.label = {{0x2000028}, 1, {0x2000060}, true};
    facts.start_next_xid = 0x1'000002f0;
    for (const BlockNumber block : {0u, 1u, 2u, 63u, 64u, 131071u, 131072u, 4'000'000'000u}) {
      facts.blocks.Add({1663, 5, 16384}, block);
    }
    facts.blocks.Add({1664, 0, 1262}, 0);
    facts.first_references.AddSeen({1663, 5, 16384}, 1);
    facts.first_references.AddSeen({1663, 5, 16384}, 131072);
    facts.first_references.AddOverwritten({1663, 5, 16384}, 131072);
    facts.first_references.SetUnknown();
    facts.created = {{1663, 5, 16390}, {16400, 5, 1}};
    facts.truncated[{1663, 5, 16384}] = 7;
    facts.copies.copies.push_back({16999, 1663, 1, 1664});
    facts.copies.touched = {5, 16999};
    facts.copied_databases = {{1663, 7}, {16400, 7}};
    facts.was_standby = true;
    facts.oldest_decided = 4'000'000'000u;
    facts.attempted = {{"base/5/16384", 40960}, {"pg_tblspc/16400/PG_17_202406281/5/9.3", 0}};
    facts.discarded_transactions = 12;
    facts.discarded_bytes = 0xfffffffff;
    facts.discarded_times = {-5, 848'000'000'000'000'000};
    facts.target_files = {
        {.path = "base/5", .type = FileType::kDirectory, .size = 0, .link_target = {}},
        {.path = "base/5/16384", .type = FileType::kRegular, .size = 81920, .link_target = {}},
        {.path = "quote'\"\\ space", .type = FileType::kRegular, .size = 1, .link_target = {}},
        {.path = "not utf-8 \xff\xfe", .type = FileType::kRegular, .size = 2, .link_target = {}},
        {.path = "caf\xc3\xa9", .type = FileType::kRegular, .size = 3, .link_target = {}},
        {.path = "pg_tblspc/16400",
         .type = FileType::kSymlink,
         .size = 0,
         .link_target = "/mnt/\xff\n weird"}};
    return facts;
  }
  static RewindPlan SomePlan() {
    RewindPlan plan;
    plan.entries.push_back({.path = "base/5/16384\xff",
                            .action = FileAction::kCopyBlocks,
                            .reason = "changed blocks and the tail",
                            .bytes_to_copy = 8192,
                            .runs = {}});
    return plan;
  }
  static void ExpectEqual(const RewindFacts& a, const RewindFacts& b) {
    EXPECT_TRUE(std::equal(a.target_control.raw().begin(), a.target_control.raw().end(),
                           b.target_control.raw().begin()));
    EXPECT_EQ(a.target_history, b.target_history);
    EXPECT_EQ(a.source_history, b.source_history);
    EXPECT_EQ(a.source_flush, b.source_flush);
    EXPECT_EQ(a.source_in_recovery, b.source_in_recovery);
    EXPECT_EQ(a.source_incarnation, b.source_incarnation);
    EXPECT_EQ(a.last_common_record, b.last_common_record);
    EXPECT_EQ(a.copied_databases, b.copied_databases);
    EXPECT_EQ(a.was_standby, b.was_standby);
    EXPECT_EQ(a.oldest_decided, b.oldest_decided);
    EXPECT_EQ(a.attempted, b.attempted);
    EXPECT_EQ(a.fork.tli, b.fork.tli);
    EXPECT_EQ(a.fork.lsn, b.fork.lsn);
    EXPECT_EQ(a.target_end, b.target_end);
    EXPECT_EQ(a.label.start, b.label.start);
    EXPECT_EQ(a.label.timeline, b.label.timeline);
    EXPECT_EQ(a.label.checkpoint, b.label.checkpoint);
    EXPECT_EQ(a.start_next_xid, b.start_next_xid);
    EXPECT_EQ(Blocks(a.blocks), Blocks(b.blocks));
    EXPECT_EQ(Blocks(a.first_references.seen()), Blocks(b.first_references.seen()));
    EXPECT_EQ(Blocks(a.first_references.overwritten()), Blocks(b.first_references.overwritten()));
    EXPECT_EQ(a.first_references.known(), b.first_references.known());
    EXPECT_EQ(a.created, b.created);
    EXPECT_EQ(a.truncated, b.truncated);
    ASSERT_EQ(a.copies.copies.size(), b.copies.copies.size());
    EXPECT_EQ(a.copies.copies[0].database, b.copies.copies[0].database);
    EXPECT_EQ(a.copies.copies[0].template_tablespace, b.copies.copies[0].template_tablespace);
    EXPECT_EQ(a.copies.touched, b.copies.touched);
    EXPECT_EQ(a.discarded_transactions, b.discarded_transactions);
    EXPECT_EQ(a.discarded_bytes, b.discarded_bytes);
    ASSERT_TRUE(b.discarded_times);
    EXPECT_EQ(a.discarded_times->first, b.discarded_times->first);
    EXPECT_EQ(a.discarded_times->last, b.discarded_times->last);
    ASSERT_EQ(a.target_files.size(), b.target_files.size());
    for (size_t i = 0; i < a.target_files.size(); ++i) {
      EXPECT_EQ(a.target_files[i].path, b.target_files[i].path);
      EXPECT_EQ(a.target_files[i].type, b.target_files[i].type);
      EXPECT_EQ(a.target_files[i].size, b.target_files[i].size);
      EXPECT_EQ(a.target_files[i].link_target, b.target_files[i].link_target);
    }
  }
  static std::vector<std::tuple<RelationSegment, BlockNumber, BlockNumber>> Blocks(
      const BlockRefTable& table) {
    std::vector<std::tuple<RelationSegment, BlockNumber, BlockNumber>> runs;
    for (const auto& [segment, bitmap] : table.segments()) {
      bitmap.ForEachRun([&, s = segment](BlockNumber first, BlockNumber count) {
        runs.emplace_back(s, first, count);
      });
    }
    return runs;
  }
  std::optional<ErrorKind> Reading() {
    try {
      ReadJournal(target_);
      return std::nullopt;
    } catch (const Error& error) {
      return error.kind();
    }
  }
  // A whole journal of these lines, whatever they say.
  void WriteLines(const std::string& lines) {
    const auto count = std::count(lines.begin(), lines.end(), '\n');
    WriteText(path(), lines + "{\"lines\":" + std::to_string(count) +
                          ",\"crc32c\":" + std::to_string(ComputeCrc32c(AsBytes(lines))) + "}\n");
  }
  std::string ReadLines() const {
    const std::string whole = ReadText(path());
    return whole.substr(0, whole.rfind("{\"lines\""));
  }
  std::filesystem::path path() const { return scratch_ / "data/pg_rejoin/journal"; }

  testing::ScratchDirectory scratch_;
  DirectoryLock lock_;
  TargetDirectory target_;
};

TEST_F(Journal, KeepsEveryFact) {
  EXPECT_FALSE(JournalExists(target_));
  const RewindFacts facts = Facts();
  WriteJournal(target_, facts, SomePlan());
  EXPECT_TRUE(JournalExists(target_));
  ExpectEqual(facts, ReadJournal(target_));
}

TEST_F(Journal, ATruncatedOneIsRefused) {
  WriteJournal(target_, Facts(), SomePlan());
  const std::string whole = ReadText(path());
  for (size_t length = 0; length < whole.size(); length += length < 16'000 ? 97 : 3) {
    WriteText(path(), whole.substr(0, length));
    EXPECT_EQ(Reading(), ErrorKind::kTargetFailed) << length;
  }
  WriteText(path(), whole.substr(0, whole.size() - 1));
  EXPECT_EQ(Reading(), ErrorKind::kTargetFailed);
}

TEST_F(Journal, AnyFlippedByteIsRefused) {
  WriteJournal(target_, Facts(), SomePlan());
  const std::string whole = ReadText(path());
  const size_t foot = whole.rfind('\n', whole.size() - 2) + 1;
  // The control file in hexadecimal is most of it: every hundredth byte there will do.
  for (size_t i = 0; i<foot; i += i> 300 && i < 16'300 ? 101 : 1) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 0x01);
    WriteText(path(), bad);
    EXPECT_EQ(Reading(), ErrorKind::kTargetFailed) << "byte " << i;
  }
}

// The last line only proves the others: damage there refuses, or the facts are right all the same.
TEST_F(Journal, AFlippedByteOfTheLastLineNeverChangesAFact) {
  const RewindFacts facts = Facts();
  WriteJournal(target_, facts, SomePlan());
  const std::string whole = ReadText(path());
  const size_t foot = whole.rfind('\n', whole.size() - 2) + 1;
  int refused = 0;
  for (size_t i = foot; i < whole.size(); ++i) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 0x01);
    WriteText(path(), bad);
    if (const auto kind = Reading()) {
      EXPECT_EQ(kind, ErrorKind::kTargetFailed);
      ++refused;
    } else {
      ExpectEqual(facts, ReadJournal(target_));
    }
  }
  EXPECT_GT(refused, 10);
}

TEST_F(Journal, MissingAndForeignContentIsRefused) {
  EXPECT_EQ(Reading(), ErrorKind::kTargetFailed);
  for (const std::string& content :
       {std::string(), std::string("\n"), std::string("{}\n"), std::string("{}\n{}\n"),
        std::string("null\nnull\n"), std::string("{\"format\":1}\n{\"lines\":1,\"crc32c\":0}\n"),
        std::string(1 << 16, '\0'), std::string(1 << 16, '[')}) {
    WriteText(path(), content);
    EXPECT_EQ(Reading(), ErrorKind::kTargetFailed) << content.substr(0, 40);
  }
}

TEST_F(Journal, ARunBehindTheSegmentIsDamage) {
  WriteJournal(target_, Facts(), SomePlan());
  const std::string whole = ReadLines();
  const std::string run = "[131071,1]";
  ASSERT_NE(whole.find(run), std::string::npos);
  for (const char* wrong :
       {"[131071,2]", "[131073,0]", "[0,4000000000000]", "[18446744073709551615,2]"}) {
    std::string lines = whole;
    WriteLines(lines.replace(lines.find(run), run.size(), wrong));
    EXPECT_EQ(Reading(), ErrorKind::kTargetFailed) << wrong;
  }
}

// Whole by its checksum, and yet not ours to carry out.
TEST_F(Journal, LinesThatMakeNoSenseAreDamage) {
  WriteJournal(target_, Facts(), SomePlan());
  const std::string whole = ReadLines();
  const std::pair<const char*, const char*> cases[] = {
      {"\"source_flush\":\"1/", "\"source_flush\":\"1-"},
      {"\"source_flush\"", "\"source_flesh\""},
      {"\"target_history\":\"1@", "\"target_history\":\"1#"},
      {"\"control\":\"", "\"control\":\"zz"},
      {"\"source_incarnation\":\"", "\"source_incarnation\":\"zz"},
      {"\"file\":{\"hex\":\"", "\"file\":{\"hex\":\"zz"},
      {"\"file\":\"base/5\"", "\"file\":\"base/../..\""},
      {"\"file\":\"base/5\"", "\"file\":\"/etc/passwd\""},
      {"\"attempted\":\"base/5/16384\"", "\"attempted\":\"../5/16384\""},
      {"\"link\":\"", "\"link\":\"z"},
  };
  for (const auto& [right, wrong] : cases) {
    std::string lines = whole;
    ASSERT_NE(lines.find(right), std::string::npos) << right;
    WriteLines(lines.replace(lines.find(right), std::strlen(right), wrong));
    EXPECT_EQ(Reading(), ErrorKind::kTargetFailed) << wrong;
  }
  WriteLines(whole);
  EXPECT_EQ(Reading(), std::nullopt);
}

// A double that fits no integer, a fraction, a number that is too large, and what is none.
TEST_F(Journal, OnlyWholeNumbersThatFitAreRead) {
  WriteJournal(target_, Facts(), SomePlan());
  const std::string whole = ReadLines();
  for (const char* before :
       {"\"format\":", "\"fork_timeline\":", "\"start_timeline\":", "\"start_next_xid\":",
        "\"oldest_decided\":", "\"discarded_transactions\":", "\"discarded_bytes\":",
        "\"discarded_from\":", "\"discarded_to\":", "\"created\":[", "\"copied_database\":[",
        "\"database_copy\":[", "\"database_touched\":", "\"truncated\":[",
        "\"to\":", "\"own_bytes\":", "\"size\":", "\"segment\":", "\"runs\":[["}) {
    const size_t begin = whole.find(before) + std::strlen(before);
    ASSERT_GE(begin, std::strlen(before)) << before;
    const size_t end = whole.find_first_not_of("-0123456789", begin);
    ASSERT_GT(end, begin) << before;
    for (const char* wrong : {"1e93", "-1e93", "1.5", "18446744073709551616", "true", "\"1\""}) {
      std::string lines = whole;
      WriteLines(lines.replace(begin, end - begin, wrong));
      EXPECT_EQ(Reading(), ErrorKind::kTargetFailed) << before << wrong;
    }
  }
}

TEST_F(Journal, BlocksBehindTheEndOfAnyRelationAreDamage) {
  WriteJournal(target_, Facts(), SomePlan());
  const std::string whole = ReadLines();
  const std::string segment = "\"segment\":";
  const size_t begin = whole.find(segment) + segment.size();
  const size_t end = whole.find_first_not_of("0123456789", begin);
  for (const char* wrong : {"32768", "4294967295", "4294967296", "-1"}) {
    std::string lines = whole;
    WriteLines(lines.replace(begin, end - begin, wrong));
    EXPECT_EQ(Reading(), ErrorKind::kTargetFailed) << wrong;
  }
}

TEST_F(Journal, TheNumberOfLinesCounts) {
  WriteJournal(target_, Facts(), SomePlan());
  const std::string lines = ReadLines();
  WriteText(path(), lines + "{\"lines\":3,\"crc32c\":" +
                        std::to_string(ComputeCrc32c(AsBytes(lines))) + "}\n");
  EXPECT_EQ(Reading(), ErrorKind::kTargetFailed);
}

// A target that was no standby and has lost no transaction.
TEST_F(Journal, FactsThatAreNotThereStayAway) {
  RewindFacts facts(ParseControl({}));
  facts.target_history = *TimelineHistory::FromString("1@0/0");
  facts.source_history = *TimelineHistory::FromString("1@0/0,2@0/3000200");
  WriteJournal(target_, facts, {});
  const RewindFacts read = ReadJournal(target_);
  EXPECT_FALSE(read.oldest_decided.has_value());
  EXPECT_FALSE(read.discarded_times.has_value());
  EXPECT_TRUE(read.first_references.known());
  EXPECT_FALSE(read.was_standby);
  EXPECT_FALSE(read.source_in_recovery);
  EXPECT_TRUE(read.blocks.segments().empty());
  EXPECT_TRUE(read.target_files.empty());
}

// Longer than what is written at once.
TEST_F(Journal, ALongOneIsWhole) {
  RewindFacts facts = Facts();
  for (unsigned i = 0; i < 6000; ++i) {
    facts.target_files.push_back({.path = std::string(200, 'x') + std::to_string(i),
                                  .type = FileType::kRegular,
                                  .size = i,
                                  .link_target = {}});
  }
  WriteJournal(target_, facts, SomePlan());
  EXPECT_GT(std::filesystem::file_size(path()), 1 << 20);
  ExpectEqual(facts, ReadJournal(target_));
}

TEST_F(Journal, AnotherFormatSaysSo) {
  WriteLines("{\"format\":4}\n");
  try {
    ReadJournal(target_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTargetFailed);
    EXPECT_NE(error.message().find("format 4"), std::string::npos);
  }
}

TEST_F(Journal, PublishedAndFencedNotes) {
  WriteJournal(target_, Facts(), SomePlan());
  EXPECT_FALSE(WasFenced(target_));
  NoteFenced(target_);
  EXPECT_TRUE(WasFenced(target_));
  EXPECT_FALSE(ReadPublished(target_).has_value());
  const ControlFile control = ParseControl({.major = 18, .timeline = 9});
  WritePublished(target_, control);
  EXPECT_EQ(ReadPublished(target_)->timeline(), 9u);
  RemoveJournal(target_);
  EXPECT_FALSE(JournalExists(target_));
  EXPECT_FALSE(ReadPublished(target_).has_value());
  EXPECT_FALSE(WasFenced(target_));
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "data/pg_rejoin"));
  EXPECT_NO_THROW(RemoveJournal(target_));
}

// A journal that is being written is none yet.
TEST_F(Journal, ATemporaryOneDoesNotCount) {
  WriteText(scratch_ / "data/pg_rejoin/journal.tmp", "half");
  EXPECT_FALSE(JournalExists(target_));
  WriteJournal(target_, Facts(), SomePlan());
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "data/pg_rejoin/journal.tmp"));
}

}  // namespace
}  // namespace pgrejoin
