#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/check.h"

namespace pgrejoin {
namespace {

TEST(Error, ContextIsPutInFront) {
  const Error error = Error(ErrorKind::kUnavailable, "no answer", "Wait.").WithContext("source");
  EXPECT_EQ(error.message(), "source: no answer");
  EXPECT_EQ(error.hint(), "Wait.");
  EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
  EXPECT_STREQ(error.what(), "source: no answer");
}

TEST(Error, SystemErrorSaysWhy) {
  errno = ENOSPC;
  EXPECT_EQ(SystemError(ErrorKind::kTargetFailed, "could not write").message(),
            "could not write: No space left on device");
}

// Documented in docs/reference/exit-status.md; scripts depend on them.
TEST(Error, ExitStatuses) {
  EXPECT_EQ(ExitStatus(ErrorKind::kUsage), 2);
  EXPECT_EQ(ExitStatus(ErrorKind::kUnavailable), 10);
  EXPECT_EQ(ExitStatus(ErrorKind::kSourceChanged), 11);
  EXPECT_EQ(ExitStatus(ErrorKind::kNotRewindable), 20);
  EXPECT_EQ(ExitStatus(ErrorKind::kTargetInUse), 21);
  EXPECT_EQ(ExitStatus(ErrorKind::kTargetFailed), 30);
  EXPECT_EQ(ExitStatus(ErrorKind::kInternal), 70);
}

TEST(Printable, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(Printable("plain text"), "plain text");
  EXPECT_EQ(Printable("\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(Printable("a\nb\r\t"), "a\\x0ab\\x0d\\x09");
  EXPECT_EQ(Printable(std::string("\0\x7f\xff", 3)), "\\x00\\x7f\\xff");
}

TEST(Printable, IsBounded) {
  EXPECT_LE(Printable(std::string(1 << 20, 'x')).size(), 1010u);
  EXPECT_LE(Printable(std::string(1 << 20, '\1')).size(), 1010u);
}

TEST(Check, FailsAsAnInternalError) {
  EXPECT_NO_THROW(Check(true, "holds"));
  try {
    Check(false, "water is dry");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    EXPECT_NE(error.message().find("water is dry"), std::string::npos);
  }
}

}  // namespace
}  // namespace pgrejoin
