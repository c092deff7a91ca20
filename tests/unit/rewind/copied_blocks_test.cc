#include "rewind/copied_blocks.h"

#include <gtest/gtest.h>

#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

using testing::ReadText;
using testing::WriteText;

constexpr uint32_t kBlocksPerSegment = 131072;
constexpr uint64_t kBlock = 8192;
constexpr const char* kPath = "base/5/16384";
constexpr const char* kSecondSegment = "base/5/16384.1";

class CopiedBlocksTest : public ::testing::Test {
 protected:
  CopiedBlocksTest()
      : lock_((std::filesystem::create_directories(scratch_ / "data/pg_rejoin"),
               DirectoryLock::Acquire((scratch_ / "data").string()))),
        target_(TargetDirectory::OpenForChange(lock_)) {
    SetLength(kPath, 100 * kBlock);
    SetLength(kSecondSegment, 100 * kBlock);
  }
  void SetLength(const std::string& path, uint64_t size) {
    for (TargetFile& file : files_) {
      if (file.path == path) {
        file.size = size;
        return;
      }
    }
    files_.push_back({.path = path, .type = FileType::kRegular, .size = size, .link_target = {}});
  }
  CopiedBlocks Attempt(const char* line = "1@0/0,2@0/3000148") {
    return {target_, *TimelineHistory::FromString(line), kBlocksPerSegment};
  }
  // "0:3+2 1:7+1": segment, first block, count.
  std::string Known(const char* line = "1@0/0,2@0/3000148") {
    std::string text;
    const BlockRefTable table = Attempt(line).Read(files_);
    for (const auto& [segment, bitmap] : table.segments()) {
      bitmap.ForEachRun([&, s = segment](BlockNumber first, BlockNumber count) {
        text += std::to_string(s.segment) + ":" + std::to_string(first) + "+" +
                std::to_string(count) + " ";
      });
    }
    return text;
  }
  // Enough for one part to be made durable.
  static void NoteMuch(CopiedBlocks& copied) { copied.Note("base/5/99999", 0, 64 << 20); }
  std::filesystem::path path() const { return scratch_ / "data/pg_rejoin/copied"; }

  testing::ScratchDirectory scratch_;
  DirectoryLock lock_;
  TargetDirectory target_;
  std::vector<TargetFile> files_;
};

TEST_F(CopiedBlocksTest, NothingIsKnownAtFirst) { EXPECT_EQ(Known(), ""); }

TEST_F(CopiedBlocksTest, WhatIsDurableIsKnownToTheNextAttempt) {
  CopiedBlocks copied = Attempt();
  copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
  copied.Note(kPath, 3 * kBlock, 2 * kBlock);
  copied.Note(kSecondSegment, 7 * kBlock, kBlock);
  EXPECT_EQ(Known(), "") << "not durable yet";
  NoteMuch(copied);
  EXPECT_EQ(Known(), "0:3+2 1:7+1 ");
}

TEST_F(CopiedBlocksTest, TheNextAttemptAddsToIt) {
  {
    CopiedBlocks copied = Attempt();
    copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
    copied.Note(kPath, 0, kBlock);
    NoteMuch(copied);
  }
  CopiedBlocks copied = Attempt();
  copied.Begin(copied.Read(files_), 0);
  EXPECT_EQ(Known(), "0:0+1 ");
  copied.Note(kPath, 9 * kBlock, kBlock);
  NoteMuch(copied);
  EXPECT_EQ(Known(), "0:0+1 0:9+1 ");
}

TEST_F(CopiedBlocksTest, AnotherLineOfTheSourceKnowsNothing) {
  CopiedBlocks copied = Attempt();
  copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
  copied.Note(kPath, 0, kBlock);
  NoteMuch(copied);
  EXPECT_EQ(Known("1@0/0,2@0/3000149"), "");
  EXPECT_EQ(Known("1@0/0"), "");
  EXPECT_EQ(Known("1@0/0,2@0/3000148,3@0/4000000"), "");
}

TEST_F(CopiedBlocksTest, OnlyWhatIsStillThereCounts) {
  CopiedBlocks copied = Attempt();
  copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
  copied.Note(kPath, 0, 10 * kBlock);
  copied.Note(kSecondSegment, 0, kBlock);
  NoteMuch(copied);
  SetLength(kPath, 4 * kBlock + 5);
  SetLength(kSecondSegment, 0);
  EXPECT_EQ(Known(), "0:0+4 ");
}

TEST_F(CopiedBlocksTest, PartsOfBlocksAndOtherFilesAreLeftOut) {
  CopiedBlocks copied = Attempt();
  copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
  copied.Note(kPath, 0, kBlock - 1);
  copied.Note(kPath, 100, kBlock);
  copied.Note("base/5/16384_fsm", 0, kBlock);
  copied.Note("pg_xact/0000", 0, kBlock);
  NoteMuch(copied);
  EXPECT_EQ(Known(), "");
}

// A machine that stops leaves any length, and anything behind what was synced.
TEST_F(CopiedBlocksTest, EndsAtTheFirstDamage) {
  {
    CopiedBlocks copied = Attempt();
    copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
    copied.Note(kPath, 0, kBlock);
    copied.Note(kPath, 2 * kBlock, kBlock);
    copied.Note(kPath, 4 * kBlock, kBlock);
    NoteMuch(copied);
  }
  const std::string whole = ReadText(path());
  const size_t head = whole.find('\n') + 1;
  ASSERT_EQ(whole.size(), head + 4 * 32);
  for (size_t length = 0; length < whole.size(); ++length) {
    WriteText(path(), whole.substr(0, length));
    std::string expected;
    for (size_t record = 0; record < 3 && length >= head + 32 * (record + 1); ++record) {
      expected += "0:" + std::to_string(2 * record) + "+1 ";
    }
    EXPECT_EQ(Known(), expected) << length;
  }
  for (size_t i = 0; i < head + 64; ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    WriteText(path(), damaged);
    EXPECT_EQ(Known(), i < head + 32 ? "" : "0:0+1 ") << i;
  }
}

TEST_F(CopiedBlocksTest, Forgotten) {
  CopiedBlocks copied = Attempt();
  copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
  copied.Note(kPath, 0, kBlock);
  NoteMuch(copied);
  ForgetCopiedBlocks(target_);
  EXPECT_EQ(Known(), "");
  ForgetCopiedBlocks(target_);
}

}  // namespace
}  // namespace pgrejoin
