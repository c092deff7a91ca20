#include "source/directory_source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <functional>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/unique_fd.h"
#include "harness/scratch_directory.h"
#include "unit/pgdata/control_builder.h"

namespace pgrejoin {
namespace {

namespace fs = std::filesystem;
using testing::ControlSpec;
using testing::MakeControl;
using testing::WriteText;

std::optional<Error> ErrorOf(const std::function<void()>& call) {
  try {
    call();
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  }
}

bool Mentions(const std::optional<Error>& error, ErrorKind kind, const std::string& part) {
  return error && error->kind() == kind && error->message().find(part) != std::string::npos;
}

class Source : public ::testing::Test {
 protected:
  Source() {
    WriteControl({.timeline = 2});
    WriteText(data() / "pg_wal/00000002.history", "1\t0/2000000\tpromoted\n");
    WriteText(data() / "base/5/16384", std::string(3 * 8192, 'a'));
    WriteText(data() / "postgresql.conf", "port = 1\n");
    fs::create_directories(data() / "pg_tblspc");
    fs::create_directories(scratch_ / "outside");
    WriteText(scratch_ / "outside/secret", "secret");
  }
  fs::path data() const { return scratch_ / "data"; }
  void WriteControl(const ControlSpec& spec) {
    WriteText(data() / "global/pg_control", MakeControl(spec));
  }
  std::unique_ptr<DirectorySource> Open() { return DirectorySource::Open(data().string()); }
  static std::map<std::string, SourceFile> List(RewindSource& source) {
    std::map<std::string, SourceFile> files;
    source.ListFiles([&](SourceFile file) { files[file.path] = file; });
    return files;
  }
  struct Fetched {
    std::string data;
    bool missing = false;
  };
  static Fetched Fetch(SourceReader& reader, const FetchRequest& request) {
    Fetched fetched;
    reader.Fetch({&request, 1}, [&](const FetchRequest&, Bytes data, bool missing) {
      fetched = {std::string(AsText(data)), missing};
    });
    return fetched;
  }
  testing::ScratchDirectory scratch_;
};

TEST_F(Source, SaysWhoItIs) {
  const auto source = Open();
  const SourceIdentity identity = source->Identify();
  EXPECT_EQ(identity.system_identifier, ControlSpec().system_identifier);
  EXPECT_EQ(identity.major_version, 15u);
  EXPECT_FALSE(identity.in_recovery);
  EXPECT_TRUE(identity.full_page_writes);
  EXPECT_EQ(identity.history.ToString(), "1@0/0,2@0/2000000");
  EXPECT_EQ(source->Identify().incarnation, identity.incarnation);
  EXPECT_EQ(source->PrimaryConninfo(), "");
}

// 24 bytes of header, 2 of the data's header, 88 of data, rounded up to 8; what does not fit stands
// behind the header of the next page, which is longer where a segment begins.
TEST_F(Source, ItsWalEndsBehindTheShutdownCheckpoint) {
  for (const auto& [checkpoint, end] : {std::pair<uint64_t, uint64_t>{0x2000028, 0x20000a0},
                                        {0x2001f88, 0x2002000},
                                        {0x2001fe0, 0x2002018 + 88},
                                        {0x21fffe0, 0x2200028 + 88}}) {
    WriteControl({.checkpoint_lsn = Lsn{checkpoint}});
    EXPECT_EQ(Open()->Identify().flush_lsn.ToString(), Lsn{end}.ToString());
  }
}

TEST_F(Source, AStoppedStandbyIsInRecovery) {
  WriteControl({.state = DatabaseState::kShutDownInRecovery, .min_recovery_point = Lsn{0x3000000}});
  const SourceIdentity identity = Open()->Identify();
  EXPECT_TRUE(identity.in_recovery);
  EXPECT_EQ(identity.flush_lsn, Lsn{0x3000000});
}

TEST_F(Source, RefusesWhatWasNotShutDownCleanly) {
  for (const auto state : {DatabaseState::kInProduction, DatabaseState::kShuttingDown,
                           DatabaseState::kCrashRecovery, DatabaseState::kArchiveRecovery}) {
    WriteControl({.state = state});
    EXPECT_TRUE(Mentions(ErrorOf([&] { Open(); }), ErrorKind::kNotRewindable,
                         "source data directory must be shut down cleanly"));
  }
  const ControlFile fenced = testing::ParseControl({}).Fenced();
  WriteText(data() / "global/pg_control", std::string(AsText(fenced.raw())));
  EXPECT_TRUE(Mentions(ErrorOf([&] { Open(); }), ErrorKind::kNotRewindable, "half rewound"));
}

TEST_F(Source, RefusesWhatIsNoDataDirectory) {
  EXPECT_TRUE(Mentions(ErrorOf([&] { DirectorySource::Open((scratch_ / "nowhere").string()); }),
                       ErrorKind::kUnavailable, "could not open source data directory"));
  EXPECT_TRUE(Mentions(ErrorOf([&] { DirectorySource::Open((scratch_ / "outside").string()); }),
                       ErrorKind::kNotRewindable, "no control file"));
  fs::resize_file(data() / "global/pg_control", 100);
  EXPECT_TRUE(Mentions(ErrorOf([&] { Open(); }), ErrorKind::kNotRewindable, "damaged"));
}

TEST_F(Source, RefusesADirectoryThatSomebodyElseHolds) {
  const UniqueFd other(::open(data().c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  EXPECT_TRUE(Mentions(ErrorOf([&] { Open(); }), ErrorKind::kUnavailable, "in use"));
  ASSERT_EQ(::flock(other.get(), LOCK_UN), 0);
  const auto source = Open();
  EXPECT_NE(::flock(other.get(), LOCK_EX | LOCK_NB), 0) << "while it is read, nobody may start it";
}

TEST_F(Source, ReadsRangesAndSaysWhatIsMissing) {
  const auto source = Open();
  const auto reader = source->OpenReader();
  WriteText(data() / "base/5/16384", std::string(8192, 'a') + std::string(8192, 'b'));
  EXPECT_EQ(Fetch(*reader, {"base/5/16384", 8190, 4}).data, "aabb");
  EXPECT_EQ(Fetch(*reader, {"base/5/16384", 16380, 100}).data, "bbbb");
  EXPECT_EQ(Fetch(*reader, {"base/5/16384", 99999, 100}).data, "");
  EXPECT_TRUE(Fetch(*reader, {"pg_wal/000000010000000000000009", 0, 8}).missing);
  EXPECT_EQ(reader->bytes_received(), 8u);
  EXPECT_EQ(source->ReadFile("postgresql.conf", 100), "port = 1\n");
  EXPECT_EQ(source->ReadFile("PG_VERSION", 100), std::nullopt);
  EXPECT_TRUE(ErrorOf([&] { source->ReadFile("postgresql.conf", 8); }).has_value());
}

TEST_F(Source, FollowsTheLinksOfPostgres) {
  fs::rename(data() / "pg_wal", scratch_ / "wal");
  fs::create_symlink(scratch_ / "wal", data() / "pg_wal");
  WriteText(scratch_ / "space/PG_15_202209061/5/16400", "t");
  fs::create_symlink(scratch_ / "space", data() / "pg_tblspc/16399");
  const auto source = Open();
  EXPECT_EQ(source->Identify().history.timeline(), 2u);
  const auto files = List(*source);
  EXPECT_EQ(files.at("pg_wal").type, FileType::kDirectory);
  EXPECT_TRUE(files.contains("pg_wal/00000002.history"));
  EXPECT_EQ(files.at("pg_tblspc/16399").type, FileType::kSymlink);
  EXPECT_EQ(files.at("pg_tblspc/16399").link_target, "") << "the target's may lead elsewhere";
  EXPECT_EQ(files.at("pg_tblspc/16399/PG_15_202209061/5/16400").size, 1u);
  const auto reader = source->OpenReader();
  EXPECT_EQ(Fetch(*reader, {"pg_tblspc/16399/PG_15_202209061/5/16400", 0, 9}).data, "t");
}

TEST_F(Source, FollowsNoOtherLink) {
  fs::create_symlink(scratch_ / "outside/secret", data() / "base/5/16385");
  fs::create_directory_symlink(scratch_ / "outside", data() / "base/6");
  const auto source = Open();
  const auto reader = source->OpenReader();
  for (const char* path : {"base/5/16385", "base/6/secret"}) {
    EXPECT_TRUE(ErrorOf([&] { Fetch(*reader, {path, 0, 9}); }).has_value()) << path;
    EXPECT_TRUE(ErrorOf([&] { source->ReadFile(path, 9); }).has_value()) << path;
  }
  EXPECT_TRUE(
      Mentions(ErrorOf([&] { List(*source); }), ErrorKind::kNotRewindable, "is a symbolic link"));
  fs::remove(data() / "base/5/16385");
  fs::remove(data() / "base/6");
  fs::create_symlink("/etc/ssl/server.crt", data() / "server.crt");
  EXPECT_EQ(List(*source).at("server.crt").link_target, "/etc/ssl/server.crt");
}

TEST_F(Source, LeavesItsDirectoryByNoName) {
  const auto source = Open();
  const auto reader = source->OpenReader();
  for (const char* path :
       {"../outside/secret", "base/../../outside/secret", "base/./5/16384", ""}) {
    EXPECT_TRUE(Mentions(ErrorOf([&] { source->ReadFile(path, 99); }), ErrorKind::kNotRewindable,
                         "file name is refused"))
        << path;
    EXPECT_TRUE(ErrorOf([&] { Fetch(*reader, {path, 0, 9}); }).has_value()) << path;
  }
  EXPECT_TRUE(ErrorOf([&] { source->ReadFile((scratch_ / "outside/secret").string(), 99); }));
  WriteText(data() / "base/5/a\nb", "x");
  EXPECT_TRUE(Mentions(ErrorOf([&] { List(*source); }), ErrorKind::kNotRewindable, "a\\x0ab"));
}

TEST_F(Source, APipeDoesNotHangIt) {
  ASSERT_EQ(::mkfifo((data() / "base/5/16390").c_str(), 0600), 0);
  const auto source = Open();
  EXPECT_FALSE(List(*source).contains("base/5/16390"));
  const auto reader = source->OpenReader();
  EXPECT_TRUE(Mentions(ErrorOf([&] {
                         Fetch(*reader, {"base/5/16390", 0, 9});
                       }),
                       ErrorKind::kNotRewindable, "is not a regular file"));
}

TEST_F(Source, SeesThatItsServerRan) {
  const auto source = Open();
  source->Identify();
  WriteControl({.state = DatabaseState::kInProduction, .timeline = 2});
  EXPECT_TRUE(
      Mentions(ErrorOf([&] { source->Identify(); }), ErrorKind::kSourceChanged, "modified"));
  WriteControl({.checkpoint_lsn = Lsn{0x4000028}, .timeline = 2});
  EXPECT_TRUE(Mentions(ErrorOf([&] { source->Identify(); }), ErrorKind::kSourceChanged, "modified"))
      << "and was shut down again";
}

TEST_F(Source, SeesFilesThatChange) {
  const fs::path file = data() / "base/5/16384";
  const std::function<void()> changes[] = {
      [&] { fs::resize_file(file, 4 * 8192); },
      [&] { fs::resize_file(file, 8192); },
      [&] { fs::remove(file); },
  };
  for (const auto& change : changes) {
    WriteText(file, std::string(3 * 8192, 'a'));
    const auto source = Open();
    List(*source);
    List(*source);
    const auto reader = source->OpenReader();
    EXPECT_EQ(Fetch(*reader, {"base/5/16384", 0, 4}).data, "aaaa");
    change();
    const auto other = source->OpenReader();
    EXPECT_TRUE(Mentions(ErrorOf([&] {
                           Fetch(*other, {"base/5/16384", 0, 4});
                         }),
                         ErrorKind::kSourceChanged, "base/5/16384"));
    EXPECT_TRUE(
        Mentions(ErrorOf([&] { List(*source); }), ErrorKind::kSourceChanged, "base/5/16384"));
  }
  const auto source = Open();
  List(*source);
  WriteText(data() / "log/postgresql.log", "somebody looks around\n");
  WriteText(data() / "notes.txt", "likewise\n");
  List(*source);
  WriteText(data() / "base/5/16999", "new");
  EXPECT_TRUE(Mentions(ErrorOf([&] { List(*source); }), ErrorKind::kSourceChanged, "16999"));
}

TEST_F(Source, SharesNothingWithTheTarget) {
  const auto shared = [&](const fs::path& source, const fs::path& target) {
    return Mentions(ErrorOf([&] { CheckNothingShared(source.string(), target.string()); }),
                    ErrorKind::kUsage, "target");
  };
  fs::create_directories(scratch_ / "other/pg_tblspc");
  fs::create_directories(scratch_ / "data2");
  EXPECT_FALSE(shared(data(), scratch_ / "other"));
  EXPECT_FALSE(shared(data(), scratch_ / "data2")) << "a name that only begins the same";
  EXPECT_TRUE(shared(data(), data()));
  EXPECT_TRUE(shared(data(), data() / "base/.."));
  EXPECT_TRUE(shared(data() / "base", data()));
  EXPECT_TRUE(shared(data(), data() / "base"));
  fs::create_directory_symlink(data(), scratch_ / "alias");
  EXPECT_TRUE(shared(data(), scratch_ / "alias"));
  fs::create_directories(scratch_ / "space");
  fs::create_directory_symlink(scratch_ / "space", data() / "pg_tblspc/16399");
  EXPECT_FALSE(shared(data(), scratch_ / "other"));
  fs::create_directory_symlink(scratch_ / "space", scratch_ / "other/pg_tblspc/16399");
  EXPECT_TRUE(shared(data(), scratch_ / "other")) << "one tablespace for two clusters";
}

}  // namespace
}  // namespace pgrejoin
