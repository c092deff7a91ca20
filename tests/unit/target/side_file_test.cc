#include "target/side_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "harness/error_kind.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

using testing::KindOf;
using testing::ReadText;
using testing::ScratchDirectory;
using testing::WriteText;

class SideFileTest : public ::testing::Test {
 protected:
  SideFileTest() { std::filesystem::create_directory(data_); }

  const ScratchDirectory scratch_;
  const std::filesystem::path data_ = scratch_.root() / "pgdata";
  const std::filesystem::path file_ = scratch_.root() / "pgdata.note";
  const DirectoryLock lock_ = DirectoryLock::Acquire((data_ / "").string());  // with a slash
};

TEST_F(SideFileTest, LiesBesideTheDirectory) {
  EXPECT_EQ(ReadSideFile(lock_, ".note"), std::nullopt);
  WriteSideFile(lock_, ".note", "one\n");
  WriteSideFile(lock_, ".note", "two\n");
  EXPECT_EQ(ReadText(file_), "two\n");
  EXPECT_EQ(ReadSideFile(lock_, ".note"), "two\n");
  EXPECT_TRUE(std::filesystem::is_empty(data_));
  RemoveSideFile(lock_, ".note");
  RemoveSideFile(lock_, ".note");
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(SideFileTest, WhatIsNoSmallFileIsNotRead) {
  WriteText(file_, std::string(kSideFileBytesMax, 'x'));
  EXPECT_EQ(ReadSideFile(lock_, ".note")->size(), kSideFileBytesMax);
  WriteText(file_, std::string(kSideFileBytesMax + 1, 'x'));
  EXPECT_EQ(KindOf([&] { ReadSideFile(lock_, ".note"); }), ErrorKind::kTargetFailed);
  std::filesystem::remove(file_);
  std::filesystem::create_symlink("/etc/passwd", file_);
  EXPECT_EQ(KindOf([&] { ReadSideFile(lock_, ".note"); }), ErrorKind::kTargetFailed);
  std::filesystem::remove(file_);
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  EXPECT_EQ(ReadSideFile(lock_, ".note"), "") << "and is not waited for";
}

// A link that somebody has put there leads nowhere.
TEST_F(SideFileTest, NoLinkIsWrittenThrough) {
  const auto elsewhere = scratch_.root() / "elsewhere";
  for (const char* name : {"pgdata.note", "pgdata.note.new"}) {
    std::filesystem::create_symlink(elsewhere, scratch_.root() / name);
  }
  WriteSideFile(lock_, ".note", "text");
  EXPECT_FALSE(std::filesystem::exists(elsewhere));
  EXPECT_EQ(ReadText(file_), "text");
}

}  // namespace
}  // namespace pgrejoin
