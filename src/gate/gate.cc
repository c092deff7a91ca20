// pg-rejoin-gate --pgdata DIR [--wait-seconds N] [--marks-initdb] -- COMMAND [ARGUMENT...]
//
// Takes the data directory's lock and becomes the server by exec; the server inherits the lock and
// keeps it for as long as one of its processes lives. The same rule as src/target/directory_lock.h:
// a flock on "<pgdata>.lock", or on the directory itself where that file cannot be made.
//
// --marks-initdb: COMMAND runs initdb where there is no cluster, and something it runs last removes
// "<pgdata>.initialising". The gate makes that file before, and does not let a server start beside
// it: a killed initdb leaves files that look like a cluster (PG_VERSION and pg_control come early)
// without the roles, or the database, that the scripts make.
//
// Copied into foreign images by `pg-rejoin init`, so it is one static file that needs no shell and
// no library. It often is process 1, which ignores SIGTERM unless there is a handler.
//
// Exit status: 2 usage, 21 the lock is held by another, 30 it cannot be had or the directory is
// half initialised, 126/127 as a shell for a command that cannot be run, 143 ended by SIGTERM;
// otherwise the command's own.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int kStatusUsage = 2;
constexpr int kStatusTargetInUse = 21;
constexpr int kStatusTargetFailed = 30;
constexpr int kStatusNotExecutable = 126;
constexpr int kStatusNotFound = 127;
constexpr int kStatusTerminated = 128 + SIGTERM;
constexpr long kWaitSecondsDefault = 5;
constexpr long kWaitSecondsMax = 3600;
constexpr long kPollNanoseconds = 100'000'000;
constexpr size_t kPathMax = 4096;

struct Arguments {
  const char* pgdata = nullptr;
  long wait_seconds = kWaitSecondsDefault;
  bool marks_initdb = false;
  char** command = nullptr;
};

void EndAtOnce(int) { _exit(kStatusTerminated); }

[[noreturn]] void Fail(int status, const char* what, const char* about, const char* hint) {
  dprintf(STDERR_FILENO, "pg-rejoin-gate: error: %s%.300s\n", what, about);
  if (hint != nullptr) dprintf(STDERR_FILENO, "hint: %s\n", hint);
  _exit(status);
}

[[noreturn]] void FailUsage(const char* what, const char* about) {
  Fail(kStatusUsage, what, about,
       "Usage: pg-rejoin-gate --pgdata DIR [--wait-seconds N] [--marks-initdb] -- COMMAND "
       "[ARGUMENT...]");
}

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--") == 0) {
      arguments.command = argv + i + 1;
      break;
    }
    if (strcmp(argv[i], "--marks-initdb") == 0) {
      arguments.marks_initdb = true;
      continue;
    }
    const bool takes_value =
        strcmp(argv[i], "--pgdata") == 0 || strcmp(argv[i], "--wait-seconds") == 0;
    if (!takes_value) FailUsage("unknown argument ", argv[i]);
    if (i + 1 >= argc) FailUsage("missing value of ", argv[i]);
    const char* value = argv[++i];
    if (strcmp(argv[i - 1], "--pgdata") == 0) {
      arguments.pgdata = value;
      continue;
    }
    char* end = nullptr;
    arguments.wait_seconds = strtol(value, &end, 10);
    if (end == value || *end != '\0' || arguments.wait_seconds < 0 ||
        arguments.wait_seconds > kWaitSecondsMax) {
      FailUsage("invalid value of --wait-seconds: ", value);
    }
  }
  if (arguments.pgdata == nullptr || arguments.pgdata[0] == '\0') FailUsage("missing --pgdata", "");
  if (arguments.command == nullptr || arguments.command[0] == nullptr) {
    FailUsage("missing -- COMMAND", "");
  }
  return arguments;
}

// The descriptors stay open over exec: no O_CLOEXEC.
struct Locks {
  int file = -1;
  int directory = -1;
};

struct Path {
  char text[kPathMax];
};

// pgdata without slashes at its end, and what follows.
Path Join(const char* pgdata, const char* suffix) {
  Path path;
  size_t length = strlen(pgdata);
  while (length > 1 && pgdata[length - 1] == '/') --length;
  const int written =
      snprintf(path.text, sizeof(path.text), "%.*s%s", static_cast<int>(length), pgdata, suffix);
  if (written < 0 || static_cast<size_t>(written) >= sizeof(path.text)) {
    FailUsage("path too long: ", pgdata);
  }
  return path;
}

// The same rule as in target/directory_lock.cc: both must meet at one lock.
Locks OpenLocks(const char* pgdata) {
  const Path lock = Join(pgdata, ".lock");
  const char* path = lock.text;
  Locks locks;
  locks.file = open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0660);
  if (locks.file < 0) locks.file = open(path, O_RDONLY | O_NOFOLLOW);
  locks.directory = open(pgdata, O_RDONLY | O_DIRECTORY);
  if (locks.file < 0 && locks.directory < 0) {
    dprintf(STDERR_FILENO, "pg-rejoin-gate: error: could not open \"%s\" nor \"%s\": %s\n", path,
            pgdata, strerror(errno));
    _exit(kStatusTargetFailed);
  }
  return locks;
}

void TakeLock(int fd, const Arguments& arguments) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const time_t deadline = now.tv_sec + arguments.wait_seconds;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      Fail(kStatusTargetFailed, "could not lock the data directory: ", strerror(errno), nullptr);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec >= deadline) {
      Fail(kStatusTargetInUse,
           "data directory is in use by another server or rejoin: ", arguments.pgdata,
           "An old server may still run on this volume; it is tried again at the next start.");
    }
    const timespec pause{0, kPollNanoseconds};
    nanosleep(&pause, nullptr);
  }
}

// The name is known to rewind/inspect.cc and to the chart's scripts as well.
void MarkInitialisation(const char* pgdata) {
  const Path mark = Join(pgdata, ".initialising");
  // What the image's entrypoint goes by, too.
  if (access(Join(pgdata, "/PG_VERSION").text, F_OK) == 0) {
    if (access(mark.text, F_OK) != 0) return;
    Fail(kStatusTargetFailed, "the initialisation of the data directory was cut short: ", pgdata,
         "Delete the pod: pg-rejoin init then begins anew where nothing can be lost. If the "
         "directory is whole, remove the file \".initialising\" beside it.");
  }
  // Durable, and its name as well, before initdb begins: after a loss of power initdb's files must
  // not be there without the mark.
  const int file = open(mark.text, O_WRONLY | O_CREAT | O_NOFOLLOW, 0640);
  if (file < 0 || syncfs(file) != 0) {
    Fail(kStatusTargetFailed, "could not mark the data directory: ", strerror(errno), nullptr);
  }
  close(file);
}

}  // namespace

int main(int argc, char** argv) {
  struct sigaction end_at_once {};
  end_at_once.sa_handler = EndAtOnce;
  sigaction(SIGTERM, &end_at_once, nullptr);
  sigaction(SIGINT, &end_at_once, nullptr);

  const Arguments arguments = Parse(argc, argv);
  const Locks locks = OpenLocks(arguments.pgdata);
  if (locks.file >= 0) TakeLock(locks.file, arguments);
  if (locks.directory >= 0) TakeLock(locks.directory, arguments);
  if (arguments.marks_initdb) MarkInitialisation(arguments.pgdata);
  // exec puts the handlers back to their defaults.
  execvp(arguments.command[0], arguments.command);
  const int status = errno == ENOENT ? kStatusNotFound : kStatusNotExecutable;
  dprintf(STDERR_FILENO, "pg-rejoin-gate: error: could not run \"%s\": %s\n", arguments.command[0],
          strerror(errno));
  return status;
}
