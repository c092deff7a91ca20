#include "target/target_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "harness/error_kind.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

namespace fs = std::filesystem;
using testing::KindOf;
using testing::ReadText;
using testing::Snapshot;
using testing::WriteText;

class Target : public ::testing::Test {
 protected:
  Target() {
    fs::create_directories(scratch_ / "data/base/5");
    fs::create_directories(scratch_ / "data/pg_wal");
    fs::create_directories(scratch_ / "data/pg_tblspc");
    fs::create_directories(scratch_ / "outside");
    fs::permissions(data(), fs::perms::owner_all);
    WriteText(data() / "base/5/16384", "page");
    WriteText(scratch_ / "outside/secret", "secret");
  }
  fs::path data() const { return scratch_ / "data"; }
  TargetDirectory Open() { return TargetDirectory::OpenForChange(lock()); }
  const DirectoryLock& lock() {
    if (!lock_) lock_.emplace(DirectoryLock::Acquire(data().string()));
    return *lock_;
  }
  static std::map<std::string, TargetFile> List(const TargetDirectory& target) {
    std::map<std::string, TargetFile> files;
    target.ListFiles([&](TargetFile file) { files[file.path] = file; });
    return files;
  }
  testing::ScratchDirectory scratch_;
  std::optional<DirectoryLock> lock_;
};

TEST_F(Target, WritesReadsAndTruncates) {
  TargetDirectory target = Open();
  {
    TargetWriter writer = target.OpenWriter("base/5/1", /*truncate=*/false);
    writer.WriteAt(4, AsBytes("tail"));
    writer.WriteAt(0, AsBytes("head"));
  }
  EXPECT_EQ(ReadText(data() / "base/5/1"), "headtail");
  target.OpenWriter("base/5/1", /*truncate=*/false);
  EXPECT_EQ(target.ReadFile("base/5/1", 8), "headtail");
  target.SetLength("base/5/1", 10);
  EXPECT_EQ(ReadText(data() / "base/5/1"), std::string("headtail\0\0", 10));
  target.SetLength("base/5/1", 2);
  EXPECT_EQ(ReadText(data() / "base/5/1"), "he");
  target.OpenWriter("base/5/1", /*truncate=*/true);
  EXPECT_EQ(ReadText(data() / "base/5/1"), "");
}

TEST_F(Target, ReadFileIsBoundedAndToleratesAbsence) {
  TargetDirectory target = Open();
  EXPECT_EQ(target.ReadFile("nothing", 10), std::nullopt);
  EXPECT_EQ(target.ReadFile("no/such/directory", 10), std::nullopt);
  EXPECT_EQ(KindOf([&] { target.ReadFile("base/5/16384", 3); }), ErrorKind::kTargetFailed);
  EXPECT_FALSE(target.OpenFile("nothing").valid());
  EXPECT_TRUE(target.Exists("base/5"));
  EXPECT_FALSE(target.Exists("base/6/1"));
}

TEST_F(Target, PathsThatLeaveTheDirectoryAreRefused) {
  TargetDirectory target = Open();
  for (const std::string& path :
       {std::string("../outside/secret"), std::string("/etc/passwd"), std::string("base/../../x"),
        std::string(""), std::string("base//5"), std::string("./base"),
        std::string("base/5/16384\0/x", 15)}) {
    EXPECT_EQ(KindOf([&] { target.OpenWriter(path, true); }), ErrorKind::kInternal) << path;
    EXPECT_EQ(KindOf([&] { target.ReadFile(path, 100); }), ErrorKind::kInternal) << path;
  }
  EXPECT_EQ(ReadText(scratch_ / "outside/secret"), "secret");
}

TEST_F(Target, SymbolicLinksAreNeverFollowed) {
  fs::create_symlink(scratch_ / "outside", data() / "base/6");
  fs::create_symlink(scratch_ / "outside/secret", data() / "base/5/7");
  fs::create_symlink("16384", data() / "base/5/8");
  TargetDirectory target = Open();
  const auto before = Snapshot(scratch_.root());
  for (const char* path : {"base/6/secret", "base/5/7", "base/5/8"}) {
    EXPECT_TRUE(KindOf([&] { target.OpenWriter(path, true); })) << path;
    EXPECT_TRUE(KindOf([&] { target.ReadFile(path, 100); })) << path;
    EXPECT_TRUE(KindOf([&] { target.SetLength(path, 0); })) << path;
  }
  EXPECT_TRUE(KindOf([&] { target.CreateDirectory("base/6/new"); }));
  EXPECT_TRUE(KindOf([&] { target.Remove("base/6/secret", FileType::kRegular); }));
  EXPECT_TRUE(KindOf([&] { target.RemoveTree("base/6"); }));
  EXPECT_TRUE(KindOf([&] { target.Rename("base/5/16384", "base/6/x"); }));
  EXPECT_EQ(Snapshot(scratch_.root()), before);
  // The link itself can go.
  target.Remove("base/5/7", FileType::kSymlink);
  EXPECT_FALSE(fs::exists(fs::symlink_status(data() / "base/5/7")));
  EXPECT_TRUE(fs::exists(scratch_ / "outside/secret"));
}

// /dev/shm is a file system of its own, with other room than the data directory's.
TEST_F(Target, KnowsTheFileSystemOfEachPlace) {
  const testing::ScratchDirectory elsewhere("/dev/shm");
  fs::create_symlink(elsewhere.root(), data() / "pg_tblspc/16400");
  const TargetDirectory target = Open();
  const auto here = target.FileSystemOf("base/5/16384");
  const auto there = target.FileSystemOf("pg_tblspc/16400/1");
  EXPECT_NE(here.id, there.id);
  EXPECT_LE(there.free_bytes, fs::space("/dev/shm").capacity);
  EXPECT_EQ(target.FileSystemOf("base/not/yet/made").id, here.id);
}

TEST_F(Target, WalAndTablespacesMayBeLinks) {
  fs::remove(data() / "pg_wal");
  fs::create_directories(scratch_ / "wal");
  fs::create_directories(scratch_ / "space");
  fs::create_symlink(scratch_ / "wal", data() / "pg_wal");
  fs::create_symlink(scratch_ / "space", data() / "pg_tblspc/16400");
  fs::create_symlink(scratch_ / "outside", scratch_ / "space/inner");
  TargetDirectory target = Open();
  target.CreateDirectory("pg_wal/archive_status");
  target.ReplaceFile("pg_wal/00000002.history", AsBytes("x"));
  target.CreateDirectory("pg_tblspc/16400/PG_15_202209061");
  target.OpenWriter("pg_tblspc/16400/PG_15_202209061/1", true);
  EXPECT_EQ(ReadText(scratch_ / "wal/00000002.history"), "x");
  EXPECT_TRUE(fs::exists(scratch_ / "space/PG_15_202209061/1"));
  const auto device = [](const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0);
    return status.st_dev;
  };
  EXPECT_EQ(target.FileSystemOf("pg_wal/1").id, device(scratch_ / "wal"));
  EXPECT_EQ(target.FileSystemOf("pg_tblspc/16400/PG_15_202209061/1").id,
            device(scratch_ / "space"));
  // A link below such a root is as forbidden as elsewhere.
  EXPECT_TRUE(KindOf([&] { target.ReadFile("pg_tblspc/16400/inner/secret", 100); }));
  const auto files = List(target);
  EXPECT_EQ(files.at("pg_wal").type, FileType::kSymlink);
  EXPECT_TRUE(files.contains("pg_wal/00000002.history"));
  EXPECT_EQ(files.at("pg_tblspc/16400").type, FileType::kSymlink);
  EXPECT_EQ(files.at("pg_tblspc/16400").link_target, (scratch_ / "space").string());
  EXPECT_TRUE(files.contains("pg_tblspc/16400/PG_15_202209061/1"));
  EXPECT_EQ(files.at("pg_tblspc/16400/inner").type, FileType::kSymlink);
  EXPECT_FALSE(files.contains("pg_tblspc/16400/inner/secret"));
  target.SyncPath("pg_wal", FileType::kDirectory);
  target.SyncAll();
  // A dropped tablespace: its content, then the link; what the link led to stays.
  target.Remove("pg_tblspc/16400/PG_15_202209061/1", FileType::kRegular);
  target.Remove("pg_tblspc/16400", FileType::kSymlink);
  EXPECT_TRUE(fs::exists(scratch_ / "space"));
}

TEST_F(Target, ADanglingTablespaceLinkIsRefusedBeforeAnything) {
  fs::create_symlink(scratch_ / "gone", data() / "pg_tblspc/16400");
  EXPECT_EQ(KindOf([&] { Open(); }), ErrorKind::kNotRewindable);
}

TEST_F(Target, ListsDirectoriesBeforeTheirContentAndNoSpecialFiles) {
  ASSERT_EQ(::mkfifo((data() / "fifo").c_str(), 0600), 0);
  WriteText(data() / "base/5/2", std::string(5000, 'x'));
  std::vector<std::string> order;
  TargetDirectory::OpenForReading(data().string()).ListFiles([&](const TargetFile& file) {
    order.push_back(file.path);
  });
  const auto position = [&](const std::string& path) {
    return std::find(order.begin(), order.end(), path) - order.begin();
  };
  EXPECT_LT(position("base"), position("base/5"));
  EXPECT_LT(position("base/5"), position("base/5/2"));
  EXPECT_EQ(std::count(order.begin(), order.end(), "fifo"), 0);
  EXPECT_EQ(std::count(order.begin(), order.end(), "base/5/2"), 1);
  EXPECT_EQ(List(Open()).at("base/5/2").size, 5000u);
}

TEST_F(Target, ReadingOnlyMeansIt) {
  TargetDirectory target = TargetDirectory::OpenForReading(data().string());
  const auto before = Snapshot(data());
  EXPECT_EQ(KindOf([&] { target.OpenWriter("x", true); }), ErrorKind::kInternal);
  EXPECT_EQ(KindOf([&] { target.CreateDirectory("x"); }), ErrorKind::kInternal);
  EXPECT_EQ(KindOf([&] { target.Remove("base/5/16384", FileType::kRegular); }),
            ErrorKind::kInternal);
  EXPECT_EQ(KindOf([&] { target.RemoveTree("base"); }), ErrorKind::kInternal);
  EXPECT_EQ(KindOf([&] { target.SetLength("base/5/16384", 0); }), ErrorKind::kInternal);
  EXPECT_EQ(KindOf([&] { target.ReplaceFile("base/5/16384", {}); }), ErrorKind::kInternal);
  EXPECT_EQ(KindOf([&] { target.Rename("base/5/16384", "y"); }), ErrorKind::kInternal);
  EXPECT_EQ(Snapshot(data()), before);
  EXPECT_EQ(target.ReadFile("base/5/16384", 100), "page");
}

TEST_F(Target, ReplaceFileLeavesTheOldOrTheNew) {
  TargetDirectory target = Open();
  const int old = ::open((data() / "base/5/16384").c_str(), O_RDONLY);
  target.ReplaceFile("base/5/16384", AsBytes("new content"));
  char buffer[16];
  EXPECT_EQ(::read(old, buffer, sizeof(buffer)), 4) << "whoever had it open sees the old file";
  ::close(old);
  EXPECT_EQ(ReadText(data() / "base/5/16384"), "new content");
  EXPECT_EQ(Snapshot(data() / "base/5").size(), 1u) << "no temporary file stays";
}

TEST_F(Target, RemovalsAreIdempotentAndDirectoriesMustBeEmpty) {
  TargetDirectory target = Open();
  target.Remove("base/9/1", FileType::kRegular);
  EXPECT_EQ(KindOf([&] { target.Remove("base/5", FileType::kDirectory); }),
            ErrorKind::kTargetFailed);
  target.Remove("base/5/16384", FileType::kRegular);
  target.Remove("base/5/16384", FileType::kRegular);
  target.Remove("base/5", FileType::kDirectory);
  target.Remove("base/5", FileType::kDirectory);
  EXPECT_FALSE(fs::exists(data() / "base/5"));
  target.CreateDirectory("base/5");
  target.CreateDirectory("base/5");
  WriteText(data() / "base/5/a/b/c", "x");
  target.RemoveTree("base");
  target.RemoveTree("base");
  EXPECT_FALSE(fs::exists(data() / "base"));
}

TEST_F(Target, NewFilesHaveTheModesOfTheDirectory) {
  const mode_t umask_before = ::umask(0022);
  {
    TargetDirectory target = Open();
    target.CreateDirectory("private");
    target.OpenWriter("private/file", true);
  }
  EXPECT_EQ(fs::status(data() / "private").permissions(), fs::perms(0700));
  EXPECT_EQ(fs::status(data() / "private/file").permissions(), fs::perms(0600));
  fs::permissions(data(), fs::perms(0750));
  {
    TargetDirectory target = Open();
    target.CreateDirectory("shared");
    target.OpenWriter("shared/file", true);
  }
  EXPECT_EQ(fs::status(data() / "shared").permissions(), fs::perms(0750));
  EXPECT_EQ(fs::status(data() / "shared/file").permissions(), fs::perms(0640));
  ::umask(umask_before);
}

TEST_F(Target, RestoreDirectoryModeChangesOnlyWhatDiffers) {
  fs::permissions(data(), fs::perms(02770));
  EXPECT_TRUE(RestoreDirectoryMode(lock(), 0700));
  EXPECT_EQ(fs::status(data()).permissions(), fs::perms(0700));
  EXPECT_FALSE(RestoreDirectoryMode(lock(), 0700));
}

TEST_F(Target, APostmasterThatLives) {
  EXPECT_NO_THROW(CheckNoPostmaster(data().string()));
  WriteText(data() / "postmaster.pid", std::to_string(::getpid()) + "\n" + data().string() + "\n");
  EXPECT_EQ(KindOf([&] { CheckNoPostmaster(data().string()); }), ErrorKind::kTargetInUse);
  WriteText(data() / "postmaster.pid", "4194305\n");  // above the kernel's largest
  EXPECT_NO_THROW(CheckNoPostmaster(data().string()));
  WriteText(data() / "postmaster.pid", "nonsense\n");
  EXPECT_NO_THROW(CheckNoPostmaster(data().string()));
}

TEST_F(Target, AMissingDirectoryIsAnError) {
  EXPECT_EQ(KindOf([&] { TargetDirectory::OpenForReading((scratch_ / "none").string()); }),
            ErrorKind::kTargetFailed);
  EXPECT_EQ(KindOf([&] { TargetDirectory::OpenForReading((data() / "base/5/16384").string()); }),
            ErrorKind::kTargetFailed);
}

TEST_F(Target, LooksForItsWalWhereItMayBe) {
  const auto wal = [](const TargetDirectory& target) {
    const UniqueFd fd = target.OpenWal("000000010000000000000001");
    char byte = '-';
    return fd.valid() && ::read(fd.get(), &byte, 1) == 1 ? byte : '-';
  };
  TargetDirectory target = Open();
  EXPECT_EQ(wal(target), '-');
  WriteText(data() / kRestoredWalDirectory / "000000010000000000000001", "r");
  EXPECT_EQ(wal(target), '-') << "the rest of it may be missing";
  WriteText(data() / kJournalPath, "");
  EXPECT_EQ(wal(target), 'r');
  std::string asked;
  WriteText(scratch_ / "archived", "a");
  target.SetArchive([&](const std::string& name) {
    asked = name;
    return UniqueFd(::open((scratch_ / "archived").c_str(), O_RDONLY));
  });
  EXPECT_EQ(wal(target), 'a');
  EXPECT_EQ(asked, "000000010000000000000001");
  WriteText(data() / kDivergedWalDirectory / "000000010000000000000001", "d");
  EXPECT_EQ(wal(target), 'd');
  WriteText(data() / "pg_wal/000000010000000000000001", "p");
  EXPECT_EQ(wal(target), 'p');
}

}  // namespace
}  // namespace pgrejoin
