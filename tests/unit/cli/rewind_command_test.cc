#include "cli/rewind_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"

namespace pgrejoin {
namespace {

TEST(RewindCommandTest, RootIsRefusedAsPgRewindDoes) {
  RewindCommandOptions options;
  options.target_pgdata = "/d";
  options.source_server = "host=h";
  if (::geteuid() != 0) {
    EXPECT_NO_THROW(CheckRewindCommandOptions(options));
    return;
  }
  try {
    CheckRewindCommandOptions(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "cannot be executed by \"root\"");
  }
}

TEST(RewindCommandTest, EveryRefusalSaysWhatToDoInstead) {
  for (const auto set : {+[](RewindCommandOptions* o) { o->restore_target_wal = true; },
                         +[](RewindCommandOptions* o) { o->config_file = "/c"; }}) {
    RewindCommandOptions options;
    options.target_pgdata = "/d";
    options.source_server = "host=h";
    set(&options);
    try {
      CheckRewindCommandOptions(options);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_NE(error.message().find("not supported yet"), std::string::npos);
      EXPECT_FALSE(error.hint().empty());
    }
  }
}

}  // namespace
}  // namespace pgrejoin
