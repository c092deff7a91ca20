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

TEST(RewindCommandTest, WhatPgRewindTakesTogetherIsTaken) {
  for (const auto set : {+[](RewindCommandOptions* o) { o->restore_target_wal = true; },
                         +[](RewindCommandOptions* o) { o->config_file = "/c"; },
                         +[](RewindCommandOptions* o) {
                           o->source_server.clear();
                           o->source_pgdata = "/s";
                         }}) {
    RewindCommandOptions options;
    options.target_pgdata = "/d";
    options.source_server = "host=h";
    set(&options);
    try {
      CheckRewindCommandOptions(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.message(), "cannot be executed by \"root\"");
    }
  }
}

}  // namespace
}  // namespace pgrejoin
