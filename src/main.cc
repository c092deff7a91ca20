// Parse, run, exit status. The only catch-all of the program.
#include "cli/cli.h"

int main(int argc, char** argv) { return pgrejoin::RunCommandLine(argc, argv); }
