// The command line: flags over environment over defaults, help that teaches, exit statuses.
// CLI11 is in cli.cc only. Nothing below this folder calls exit().
#pragma once

namespace pgrejoin {

// Parses, runs, and returns the exit status (docs/reference/exit-status.md). Catches everything:
// errors become "pg-rejoin: error: ..." and "hint: ..." on standard error.
int RunCommandLine(int argc, char** argv);

}  // namespace pgrejoin
