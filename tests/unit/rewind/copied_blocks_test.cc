#include "rewind/copied_blocks.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <thread>
#include <vector>

#include "base/error.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

using testing::ReadText;
using testing::WriteText;

constexpr uint32_t kBlocksPerSegment = 131072;
constexpr uint64_t kBlock = 8192;
constexpr const char* kPath = "base/5/16384";
constexpr const char* kSecondSegment = "base/5/16384.1";

// Writes beyond so many bytes of a file fail, in this process.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

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

// A sync that succeeds after one that failed says nothing of what was written before.
TEST_F(CopiedBlocksTest, NothingIsNotedAfterAFailure) {
  CopiedBlocks copied = Attempt();
  copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
  copied.Note(kPath, 0, kBlock);
  {
    const FileSizeLimit limit(ReadText(path()).size());
    EXPECT_THROW(NoteMuch(copied), Error);
  }
  copied.Note(kPath, kBlock, kBlock);
  NoteMuch(copied);
  EXPECT_EQ(Known(), "");
}

TEST_F(CopiedBlocksTest, SeveralThreadsLoseAtMostTwoParts) {
  constexpr int kThreads = 4;
  constexpr uint32_t kNotes = 20;
  constexpr uint64_t kNoteBlocks = (1 << 20) / kBlock;
  constexpr uint64_t kTwoPartsBlocks = 2 * (2 << 20) / kBlock;
  constexpr uint64_t kBlocks = kThreads * kNotes * kNoteBlocks;
  SetLength(kPath, kBlocks * kBlock);
  CopiedBlocks copied = Attempt();
  copied.Begin(BlockRefTable(kBlocksPerSegment), 0);
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&copied, thread] {
        for (uint32_t i = 0; i < kNotes; ++i) {
          copied.Note(kPath, (uint64_t{i} * kThreads + thread) << 20, 1 << 20);
        }
      });
    }
  }
  uint64_t known = 0;
  const BlockRefTable table = Attempt().Read(files_);
  for (const auto& [segment, bitmap] : table.segments()) {
    bitmap.ForEachRun([&](BlockNumber, BlockNumber count) { known += count; });
  }
  EXPECT_LE(known, kBlocks);
  EXPECT_GT(known + kTwoPartsBlocks, kBlocks);
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
