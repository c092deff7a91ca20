#include "target/wal_archive.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file_access.h"
#include "harness/error_kind.h"
#include "harness/scratch_directory.h"
#include "unit/pgdata/control_builder.h"

namespace pgrejoin {
namespace {

namespace fs = std::filesystem;
using testing::Snapshot;
using testing::WriteText;

constexpr size_t kSegment = 1 << 20;
const std::string kName = "000000010000000000000007";

TEST(ExpandRestoreCommandTest, Placeholders) {
  const auto expand = [](std::string_view command) {
    return ExpandRestoreCommand(command, "F", "dir/P");
  };
  EXPECT_EQ(expand("cp /a/%f \"%p\""), "cp /a/F \"dir/P\"");
  EXPECT_EQ(expand("date +%%s; x %r"), "date +%s; x 000000000000000000000000");
  EXPECT_EQ(expand("%%f%f"), "%fF");
  EXPECT_EQ(expand(""), "");
}

TEST(ExpandRestoreCommandTest, RefusesWhatNoServerTakes) {
  for (const char* command : {"cp %", "cp %F", "cp %x %p"}) {
    try {
      ExpandRestoreCommand(command, "F", "P");
      FAIL() << command;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_NE(error.message().find("\"restore_command\""), std::string::npos);
    }
  }
}

class Archive : public ::testing::Test {
 protected:
  Archive() {
    WriteText(data() / "global/pg_control", testing::MakeControl({.wal_segment_size = kSegment}));
    fs::create_directories(data() / "pg_wal");
    fs::permissions(data(), fs::perms::owner_all);
    WriteText(scratch_ / "archive" / kName, std::string(kSegment, 'w'));
    lock_.emplace(DirectoryLock::Acquire(data().string()));
  }
  fs::path data() const { return scratch_ / "data"; }
  fs::path restored() const { return data() / kRestoredWalDirectory; }
  std::string FromArchive() const {
    return "cp '" + (scratch_ / "archive").string() + "/%f' '%p' 2>/dev/null";
  }
  std::unique_ptr<WalArchive> Open(const std::string& command, bool dry_run = false,
                                   std::stop_token stop = {}) {
    return std::make_unique<WalArchive>(*lock_,
                                        WalArchive::Options{command, dry_run, std::move(stop)});
  }
  std::optional<Error> ErrorOf(const std::string& command) {
    try {
      Open(command)->Restore(kName);
      return std::nullopt;
    } catch (const Error& error) {
      EXPECT_EQ(error.message().find(command), std::string::npos) << "it may hold a secret";
      return error;
    }
  }
  testing::ScratchDirectory scratch_;
  std::optional<DirectoryLock> lock_;
};

TEST_F(Archive, RestoresBesideAndLeavesNothing) {
  const auto before = Snapshot(data());
  {
    const auto archive = Open(FromArchive());
    EXPECT_EQ(Snapshot(data()), before);
    ::chmod((scratch_ / "archive" / kName).c_str(), 0444);
    EXPECT_EQ(ReadUpTo(archive->Restore(kName), kSegment), std::string(kSegment, 'w'));
    EXPECT_EQ(fs::status(restored() / kName).permissions(),
              fs::perms::owner_read | fs::perms::owner_write);
    // It is there now, and is not asked for again.
    fs::remove(scratch_ / "archive" / kName);
    EXPECT_TRUE(archive->Restore(kName).valid());
  }
  EXPECT_EQ(Snapshot(data()), before);
}

TEST_F(Archive, PeekAsksAnewAndLeavesNothing) {
  const auto archive = Open(FromArchive());
  EXPECT_EQ(ReadUpTo(archive->Peek(kName), kSegment), std::string(kSegment, 'w'));
  EXPECT_TRUE(fs::is_empty(restored()));
  fs::remove(scratch_ / "archive" / kName);
  EXPECT_FALSE(archive->Peek(kName).valid());
  WriteText(scratch_ / "archive" / kName, std::string(kSegment, 'x'));
  EXPECT_EQ(ReadUpTo(archive->Peek(kName), kSegment), std::string(kSegment, 'x'));
}

// pg_standby and its like wait until their file is there.
TEST_F(Archive, PeekEndsACommandThatWaits) {
  WalArchive archive(*lock_, {.restore_command = "sleep 600; : %f %p",
                              .dry_run = false,
                              .stop = {},
                              .peek_limit = std::chrono::seconds(1)});
  EXPECT_EQ(testing::KindOf([&] { archive.Peek(kName); }), ErrorKind::kUnavailable);
}

TEST_F(Archive, KeepsWhatAnUnfinishedRewindNeeds) {
  {
    const auto archive = Open(FromArchive());
    archive->Restore(kName);
    WriteText(data() / "pg_rejoin/journal", "");
  }
  EXPECT_TRUE(fs::exists(restored() / kName));
}

TEST_F(Archive, ADryRunUsesAnotherPlace) {
  const auto before = Snapshot(data());
  auto archive = Open(FromArchive() + "; echo '%p' > '" + (scratch_ / "place").string() + "'",
                      /*dry_run=*/true);
  EXPECT_EQ(ReadUpTo(archive->Restore(kName), kSegment), std::string(kSegment, 'w'));
  EXPECT_EQ(Snapshot(data()), before);
  const fs::path place = fs::path(testing::ReadText(scratch_ / "place")).parent_path();
  EXPECT_TRUE(fs::exists(place / kName));
  archive.reset();
  EXPECT_FALSE(fs::exists(place));
}

TEST_F(Archive, RunsInTheDataDirectory) {
  EXPECT_TRUE(Open("test -d pg_wal && test -f global/pg_control && " + FromArchive())
                  ->Restore(kName)
                  .valid());
}

TEST_F(Archive, OrdinaryFailuresMeanThatThereIsNone) {
  const std::string count = (scratch_ / "count").string();
  for (const char* command : {"exit 1", "exit 125", "true"}) {
    fs::remove(count);
    const auto archive = Open("echo x >> '" + count + "'; " + command);
    EXPECT_FALSE(archive->Restore(kName).valid()) << command;
    EXPECT_FALSE(archive->Restore(kName).valid()) << command;
    EXPECT_EQ(testing::ReadText(count), "x\n") << "asked for twice";
  }
  EXPECT_FALSE(Open(FromArchive())->Restore("00000002.history").valid());
}

TEST_F(Archive, OthersAreFatal) {
  for (const auto& [command, why] : {std::pair{"exit 126", "command not executable"},
                                     {"exit 127", "command not found"},
                                     {"exit 200", "exit code 200"},
                                     {"kill -9 $$", "terminated by signal 9: Killed"},
                                     {"kill -INT $$", "terminated by signal 2"}}) {
    const auto error = ErrorOf(command);
    ASSERT_TRUE(error.has_value()) << command;
    EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
    EXPECT_NE(error->message().find("\"restore_command\" failed: "), std::string::npos);
    EXPECT_NE(error->message().find(why), std::string::npos) << error->message();
    EXPECT_FALSE(error->hint().empty());
  }
}

TEST_F(Archive, RefusesWhatIsNoSegment) {
  for (const char* command : {"printf x > '%p'", ": > '%p'", "head -c 1048577 /dev/zero > '%p'"}) {
    const auto error = ErrorOf(command);
    ASSERT_TRUE(error.has_value()) << command;
    EXPECT_EQ(error->kind(), ErrorKind::kNotRewindable);
    EXPECT_NE(error->message().find("unexpected file size"), std::string::npos);
  }
  for (const char* command : {"mkdir '%p'", "mkfifo '%p'", "ln -s /dev/zero '%p'"}) {
    const auto error = ErrorOf(command);
    ASSERT_TRUE(error.has_value()) << command;
    EXPECT_EQ(error->kind(), ErrorKind::kNotRewindable);
    EXPECT_NE(error->message().find("not a regular file"), std::string::npos);
  }
  EXPECT_FALSE(fs::exists(data() / kOwnWalDirectory));
}

TEST_F(Archive, HistoryFilesMayHaveAnySize) {
  WriteText(scratch_ / "archive/00000002.history", "1\t0/5000000\tx\n");
  EXPECT_EQ(ReadUpTo(Open(FromArchive())->Restore("00000002.history"), 100), "1\t0/5000000\tx\n");
}

TEST_F(Archive, IsInterruptedByTheStopToken) {
  std::stop_source stop;
  const auto archive = Open("sleep 60 & wait", /*dry_run=*/false, stop.get_token());
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    stop.request_stop();
  });
  const auto begun = std::chrono::steady_clock::now();
  try {
    archive->Restore(kName);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "interrupted");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(30));
}

TEST_F(Archive, RefusesABadCommandAtOnce) { EXPECT_THROW(Open("cp %d"), Error); }

}  // namespace
}  // namespace pgrejoin
