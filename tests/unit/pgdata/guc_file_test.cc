#include "pgdata/guc_file.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace pgrejoin {
namespace {

std::string ValueOf(std::string_view line) {
  const auto lines = ParseGucFile(line, "x.conf");
  EXPECT_EQ(lines.size(), 1u) << line;
  return lines.empty() ? "" : lines[0].value;
}

TEST(GucFileTest, ReadsWhatInitdbWrites) {
  const auto lines = ParseGucFile(
      "# -----\n"
      "\n"
      "max_connections = 100\t\t\t# (change requires restart)\n"
      "#restore_command = ''\n"
      "  Restore_Command 'cp /archive/%f \"%p\"'   # without an equals sign\r\n"
      "pg_stat_statements.max=5000\n"
      "shared_buffers = 128MB",
      "x.conf");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].name, "max_connections");
  EXPECT_EQ(lines[0].value, "100");
  EXPECT_EQ(lines[1].name, "restore_command");
  EXPECT_EQ(lines[1].value, "cp /archive/%f \"%p\"");
  EXPECT_EQ(lines[2].name, "pg_stat_statements.max");
  EXPECT_EQ(lines[2].value, "5000");
  EXPECT_EQ(lines[3].value, "128MB");
}

TEST(GucFileTest, Quotes) {
  EXPECT_EQ(ValueOf("a = ''"), "");
  EXPECT_EQ(ValueOf("a = 'it''s'"), "it's");
  EXPECT_EQ(ValueOf("a = 'it\\'s'"), "it's");
  EXPECT_EQ(ValueOf("a = '# = \\\\ \\% '"), "# = \\ % ");
  EXPECT_EQ(ValueOf("a = '\\b\\f\\n\\r\\t\\x'"), "\b\f\n\r\tx");
  EXPECT_EQ(ValueOf("a = '\\101\\60\\0019'"), "A0\0019");
  EXPECT_EQ(ValueOf("a = ''''"), "'");
}

TEST(GucFileTest, Unquoted) {
  for (const char* value : {"on", "my-name.x_y:/path", "-1", "+5s", "0x1F", "0x1Fms", "1.5", ".5",
                            "5.", "-1.5e-3", "10min", "\xc3\xa4"}) {
    EXPECT_EQ(ValueOf(std::string("a = ") + value), value);
  }
}

class BadLine : public testing::TestWithParam<const char*> {};

TEST_P(BadLine, IsASyntaxErrorWithItsPlace) {
  try {
    ParseGucFile(std::string("a = 1\n\n") + GetParam() + "\nb = 2\n", "dir/x.conf");
    FAIL() << GetParam();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_NE(error.message().find("file \"dir/x.conf\" line 3"), std::string::npos)
        << error.message();
  }
}

INSTANTIATE_TEST_SUITE_P(GucFile, BadLine,
                         testing::Values("a", "a =", "a = 'open", "a = 'open\\", "a = 'x' y",
                                         "a = 1 2", "= 1", "5 = 1", "a == 1", "a = /path",
                                         "a = \"x\"", "a.b.c = 1", "a = 2E8", "-", "a = 'it's'"));

}  // namespace
}  // namespace pgrejoin
