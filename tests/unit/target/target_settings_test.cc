#include "target/target_settings.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

namespace fs = std::filesystem;
using testing::WriteText;

class Settings : public ::testing::Test {
 protected:
  fs::path data() const { return scratch_ / "data"; }
  void Main(const std::string& text) { WriteText(data() / "postgresql.conf", text); }
  std::string Value(const std::string& config_file = {}) const {
    return ReadTargetSetting(data().string(), config_file, "restore_command").value_or("(none)");
  }
  std::string Failure(const std::string& config_file = {}) const {
    try {
      return "no failure: " + Value(config_file);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.message();
    }
  }
  testing::ScratchDirectory scratch_;
};

TEST_F(Settings, TheLastValueWinsAndTheAutomaticFileIsLast) {
  Main("port = 5432\n");
  EXPECT_EQ(Value(), "(none)");
  Main("restore_command = 'a'\nRESTORE_COMMAND = 'b'\nrestore_commands = 'c'\n");
  EXPECT_EQ(Value(), "b");
  WriteText(data() / "postgresql.auto.conf", "restore_command = 'auto'\n");
  EXPECT_EQ(Value(), "auto");
}

TEST_F(Settings, AnotherMainFile) {
  WriteText(scratch_ / "etc/main.conf", "restore_command = 'etc'\ninclude 'more.conf'\n");
  WriteText(scratch_ / "etc/more.conf", "");
  EXPECT_EQ(Value((scratch_ / "etc/main.conf").string()), "etc");
  WriteText(data() / "postgresql.auto.conf", "restore_command = 'auto'\n");
  EXPECT_EQ(Value((scratch_ / "etc/main.conf").string()), "auto");
  EXPECT_NE(Failure().find("postgresql.conf\": No such file"), std::string::npos);
  EXPECT_NE(Failure((scratch_ / "etc").string()).find("no regular file"), std::string::npos);
}

TEST_F(Settings, IncludesAreRelativeToTheFileThatIncludes) {
  WriteText(data() / "sub/a.conf", "include 'b.conf'\n");
  WriteText(data() / "sub/b.conf", "restore_command = 'b'\n");
  WriteText(scratch_ / "outside.conf", "restore_command = 'outside'\n");
  Main("include 'sub/a.conf'\ninclude_if_exists = 'nowhere.conf'\n");
  EXPECT_EQ(Value(), "b");
  Main("restore_command = 'x'\nINCLUDE '" + (scratch_ / "outside.conf").string() + "'\n");
  EXPECT_EQ(Value(), "outside");
  Main("include 'outside.conf'\nrestore_command = 'x'\n");
  EXPECT_NE(Failure().find("outside.conf"), std::string::npos);
  Main("include 'sub/a.conf'\n");
  WriteText(data() / "sub/b.conf", "restore_command\n");
  EXPECT_NE(Failure().find("b.conf\" line 1"), std::string::npos);
}

TEST_F(Settings, DirectoriesInTheOrderOfTheirNames) {
  WriteText(data() / "conf.d/10-b.conf", "restore_command = '10'\n");
  WriteText(data() / "conf.d/9-a.conf", "restore_command = '9'\n");
  WriteText(data() / "conf.d/.hidden.conf", "restore_command = 'hidden'\n");
  WriteText(data() / "conf.d/zz.conf.bak", "restore_command = 'bak'\n");
  WriteText(data() / "conf.d/directory.conf/x", "");
  Main("include_dir 'conf.d'\n");
  EXPECT_EQ(Value(), "9");
  Main("include_dir 'nowhere.d'\n");
  EXPECT_NE(Failure().find("nowhere.d"), std::string::npos);
}

TEST_F(Settings, DepthAndNumberAreLimited) {
  Main("restore_command = 'deep'\ninclude 'postgresql.conf'\n");
  EXPECT_NE(Failure().find("maximum nesting depth exceeded"), std::string::npos);
  for (int depth = 1; depth <= 11; ++depth) {
    WriteText(data() / (std::to_string(depth) + ".conf"),
              "restore_command = '" + std::to_string(depth) + "'\n" +
                  (depth < 10 ? "include '" + std::to_string(depth + 1) + ".conf'\n" : ""));
  }
  Main("include '1.conf'\n");
  EXPECT_EQ(Value(), "10");
  WriteText(data() / "10.conf", "include '11.conf'\n");
  EXPECT_NE(Failure().find("maximum nesting depth exceeded"), std::string::npos);
  std::string many;
  WriteText(data() / "one.conf", "");
  for (int i = 0; i < 1000; ++i) many += "include 'one.conf'\n";
  Main(many);
  EXPECT_NE(Failure().find("too many files"), std::string::npos);
}

TEST_F(Settings, APipeDoesNotHangIt) {
  fs::create_directories(data());
  ASSERT_EQ(::mkfifo((data() / "postgresql.conf").c_str(), 0600), 0);
  EXPECT_NE(Failure().find("no regular file"), std::string::npos);
}

}  // namespace
}  // namespace pgrejoin
