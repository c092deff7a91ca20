#include "rewind/same_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "harness/fake_source.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

using testing::FakeSource;

constexpr const char* kSegment = "pg_xact/0000";

class SameFiles : public ::testing::Test {
 protected:
  // On both sides, to be copied whole.
  void OnBoth(const std::string& path, const std::string& ours, const std::string& theirs) {
    source_.files[path] = theirs;
    testing::WriteText(scratch_ / path, ours);
    Plan(path, ours.size(), theirs.size());
  }
  void Plan(const std::string& path, uint64_t ours, uint64_t theirs) {
    PlanEntry entry;
    entry.path = path;
    entry.action = FileAction::kCopyWhole;
    entry.source_size = theirs;
    entry.target_size = ours;
    entry.bytes_to_copy = theirs;
    entry.on_target = true;
    plan_.entries.push_back(entry);
    plan_.bytes_to_copy += theirs;
  }
  void Compare(const CompareOptions& options = {}) {
    const auto target = TargetDirectory::OpenForReading(scratch_.root().string());
    KeepSameFiles(target, source_, options, &plan_);
  }
  std::string ActionOf(const std::string& path) const {
    const auto entry = std::ranges::find(plan_.entries, path, &PlanEntry::path);
    return FileActionName(entry->action);
  }

  testing::ScratchDirectory scratch_;
  FakeSource source_;
  RewindPlan plan_;
};

TEST_F(SameFiles, WhatIsTheSameIsKeptAndCounted) {
  OnBoth(kSegment, std::string(256 << 10, 'x'), std::string(256 << 10, 'x'));
  OnBoth("pg_xact/0001", std::string(8192, 'x'), std::string(8192, 'y'));
  Compare();
  EXPECT_EQ(ActionOf(kSegment), "keep");
  EXPECT_EQ(ActionOf("pg_xact/0001"), "copy");
  EXPECT_EQ(plan_.bytes_same, 256u << 10);
  EXPECT_EQ(plan_.bytes_to_copy, 8192u);
  EXPECT_EQ(source_.requests, 0u);
}

TEST_F(SameFiles, ThePlanStaysInOrder) {
  OnBoth(kSegment, std::string(8192, 'x'), std::string(8192, 'x'));
  OnBoth("pg_xact/0001", std::string(8192, 'x'), std::string(8192, 'y'));
  Compare();
  EXPECT_EQ(plan_.entries.front().path, "pg_xact/0001");
}

// In any piece of a long one: the first, one in the middle, the last byte.
TEST_F(SameFiles, OneByteMakesADifference) {
  const std::string content(700'000, 'x');
  for (const size_t at : {size_t{0}, size_t{300'000}, content.size() - 1}) {
    std::string other = content;
    other[at] = 'y';
    OnBoth("file" + std::to_string(at), content, other);
  }
  OnBoth("same", content, content);
  Compare();
  EXPECT_EQ(ActionOf("file0"), "copy");
  EXPECT_EQ(ActionOf("file300000"), "copy");
  EXPECT_EQ(ActionOf("file699999"), "copy");
  EXPECT_EQ(ActionOf("same"), "keep");
}

TEST_F(SameFiles, AFileThatHasGrownSinceItWasListedIsCopied) {
  for (const size_t size : {size_t{8192}, size_t{256} << 10, size_t{512} << 10}) {
    const std::string path = "grown" + std::to_string(size);
    OnBoth(path, std::string(size, 'x'), std::string(size, 'x'));
    source_.files[path] += 'x';
  }
  Compare();
  for (const PlanEntry& entry : plan_.entries) EXPECT_EQ(ActionOf(entry.path), "copy");
}

TEST_F(SameFiles, AFileThatWasCutSinceItWasListedIsCopied) {
  OnBoth(kSegment, std::string(512 << 10, 'x'), std::string(512 << 10, 'x'));
  source_.files[kSegment].resize(256 << 10);
  Compare();
  EXPECT_EQ(ActionOf(kSegment), "copy");
}

TEST_F(SameFiles, AFileThatTheSourceHasNoLongerIsLeftToTheCopy) {
  OnBoth(kSegment, std::string(8192, 'x'), std::string(8192, 'x'));
  source_.files.clear();
  Compare();
  EXPECT_EQ(ActionOf(kSegment), "copy");
}

TEST_F(SameFiles, WhatCannotBeTheSameIsNotAskedFor) {
  OnBoth("longer", std::string(8192, 'x'), std::string(16384, 'x'));
  OnBoth("small", std::string(100, 'x'), std::string(100, 'x'));
  // Which of its blocks are copied is known by the WAL.
  OnBoth("base/5/16384", std::string(8192, 'x'), std::string(8192, 'x'));
  Plan("only_on_the_source", 8192, 8192);
  plan_.entries.back().on_target = false;
  Compare();
  EXPECT_EQ(source_.digests, 0u);
  EXPECT_EQ(source_.readers_opened, 0);
  for (const PlanEntry& entry : plan_.entries) EXPECT_EQ(ActionOf(entry.path), "copy");
}

TEST_F(SameFiles, MapsOfARelationAreCompared) {
  OnBoth("base/5/16384_vm", std::string(8192, 'x'), std::string(8192, 'x'));
  Compare();
  EXPECT_EQ(ActionOf("base/5/16384_vm"), "keep");
}

TEST_F(SameFiles, MuchWorkIsDoneOnSeveralConnections) {
  const std::string content(4 << 20, 'x');
  for (int i = 0; i < 10; ++i) OnBoth("f" + std::to_string(i), content, content);
  source_.files["f7"].back() = 'y';
  Compare({.connections = 3});
  EXPECT_EQ(source_.readers_opened, 3);
  for (const PlanEntry& entry : plan_.entries) {
    EXPECT_EQ(FileActionName(entry.action), std::string(entry.path == "f7" ? "copy" : "keep"));
  }
}

TEST_F(SameFiles, ConnectionsThatTheSourceHasNoRoomForAreDoneWithout) {
  const std::string content(4 << 20, 'x');
  for (int i = 0; i < 10; ++i) OnBoth("f" + std::to_string(i), content, content);
  source_.on_open = [&] {
    if (source_.readers_opened == 1) throw Error(ErrorKind::kUnavailable, "too many clients");
  };
  Compare({.connections = 3});
  for (const PlanEntry& entry : plan_.entries) EXPECT_EQ(ActionOf(entry.path), "keep");
}

TEST_F(SameFiles, AFailureOfAnyConnectionIsTold) {
  const std::string content(4 << 20, 'x');
  for (int i = 0; i < 10; ++i) OnBoth("f" + std::to_string(i), content, content);
  const auto caller = std::this_thread::get_id();
  source_.on_digest = [&](const FetchRequest&) {
    if (std::this_thread::get_id() != caller) throw Error(ErrorKind::kUnavailable, "lost");
  };
  EXPECT_THROW(Compare({.connections = 3}), Error);
}

TEST_F(SameFiles, AFileThatCannotBeReadHereIsAnError) {
  OnBoth(kSegment, std::string(8192, 'x'), std::string(8192, 'x'));
  std::filesystem::remove(scratch_ / kSegment);
  EXPECT_THROW(Compare(), Error);
}

TEST_F(SameFiles, AStopIsHeard) {
  OnBoth(kSegment, std::string(8192, 'x'), std::string(8192, 'x'));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(Compare({.stop = stop.get_token()}), Error);
}

}  // namespace
}  // namespace pgrejoin
