// pg-rejoin-gate --pgdata DIR [--wait-seconds N] [--marks-initdb] [--ask DIR [--ask-seconds N]]
//                -- COMMAND [ARGUMENT...]
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
// --ask: what `pg-rejoin init` has decided may be hours old when the server starts, since the
// kubelet starts a container again without the init containers. So a directory that would become a
// read-write server waits for leave. In DIR, which the sidecar shares, the gate writes "request":
// one line, "<nonce> <what the directory is: empty or primary>"; the sidecar writes "answer":
// "<nonce> go", or "<nonce> no: <why>". An answer to another nonce is none. Without the sidecar a
// person may put a file "break-glass" there: the gate removes it and starts the server, once.
//
// Copied into foreign images by `pg-rejoin init`, so it is one static file that needs no shell and
// no library. It often is process 1, which ignores SIGTERM unless there is a handler.
//
// Exit status: 2 usage, 10 no leave to start read-write, 21 the lock is held by another, 30 it
// cannot be had or the directory is half initialised, 126/127 as a shell for a command that cannot
// be run, 143 ended by SIGTERM; otherwise the command's own.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int kStatusUsage = 2;
constexpr int kStatusNoLeave = 10;
constexpr int kStatusTargetInUse = 21;
constexpr int kStatusTargetFailed = 30;
constexpr int kStatusNotExecutable = 126;
constexpr int kStatusNotFound = 127;
constexpr int kStatusTerminated = 128 + SIGTERM;
constexpr long kWaitSecondsDefault = 5;
constexpr long kAskSecondsDefault = 300;
constexpr long kWaitSecondsMax = 3600;
constexpr long kPollNanoseconds = 10'000'000;
constexpr size_t kPathMax = 4096;

struct Arguments {
  const char* pgdata = nullptr;
  long wait_seconds = kWaitSecondsDefault;
  bool marks_initdb = false;
  const char* ask = nullptr;
  long ask_seconds = kAskSecondsDefault;
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
       "Usage: pg-rejoin-gate --pgdata DIR [--wait-seconds N] [--marks-initdb] "
       "[--ask DIR [--ask-seconds N]] -- COMMAND [ARGUMENT...]");
}

long ParseSeconds(const char* option, const char* value) {
  char* end = nullptr;
  const long seconds = strtol(value, &end, 10);
  if (end != value && *end == '\0' && seconds >= 0 && seconds <= kWaitSecondsMax) return seconds;
  Fail(kStatusUsage, "invalid value of ", option, "It is a number of seconds, 0 to 3600.");
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
    const char* option = argv[i];
    const char* value = argv[i + 1];  // argv[argc] is a null pointer
    const auto is = [option](const char* name) { return strcmp(option, name) == 0; };
    if (!is("--pgdata") && !is("--wait-seconds") && !is("--ask") && !is("--ask-seconds")) {
      FailUsage("unknown argument ", option);
    }
    if (value == nullptr) FailUsage("missing value of ", option);
    if (is("--pgdata")) {
      arguments.pgdata = value;
    } else if (is("--ask")) {
      arguments.ask = value;
    } else if (is("--wait-seconds")) {
      arguments.wait_seconds = ParseSeconds(option, value);
    } else {
      arguments.ask_seconds = ParseSeconds(option, value);
    }
    ++i;
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

class Deadline {
 public:
  explicit Deadline(long seconds) : end_(Now() + seconds) {}
  // false: it is over. Otherwise some time has passed.
  bool Pause() const {
    if (Now() >= end_) return false;
    const timespec pause{0, kPollNanoseconds};
    nanosleep(&pause, nullptr);
    return true;
  }

 private:
  static time_t Now() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
  }

  time_t end_;
};

void TakeLock(int fd, const Arguments& arguments) {
  const Deadline deadline(arguments.wait_seconds);
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      Fail(kStatusTargetFailed, "could not lock the data directory: ", strerror(errno), nullptr);
    }
    if (!deadline.Pause()) {
      Fail(kStatusTargetInUse,
           "data directory is in use by another server or rejoin: ", arguments.pgdata,
           "An old server may still run on this volume; it is tried again at the next start.");
    }
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

// A standby cannot fork history, and a recovery to a point in time is a person's own doing.
bool IsInRecovery(const char* pgdata) {
  return access(Join(pgdata, "/standby.signal").text, F_OK) == 0 ||
         access(Join(pgdata, "/recovery.signal").text, F_OK) == 0;
}

struct Nonce {
  char text[33];
};

Nonce MakeNonce() {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
    Fail(kStatusTargetFailed, "no random numbers: ", strerror(errno), nullptr);
  }
  Nonce nonce;
  for (size_t i = 0; i < sizeof(bytes); ++i) {
    snprintf(nonce.text + 2 * i, 3, "%02x", static_cast<unsigned>(bytes[i]));
  }
  return nonce;
}

void WriteRequest(const char* directory, const Nonce& nonce, bool empty) {
  char text[64];
  const int length =
      snprintf(text, sizeof(text), "%s %s\n", nonce.text, empty ? "empty" : "primary");
  const Path temporary = Join(directory, "/request.new");
  const int file = open(temporary.text, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
  if (file < 0 || write(file, text, static_cast<size_t>(length)) != length || close(file) != 0 ||
      rename(temporary.text, Join(directory, "/request").text) != 0) {
    Fail(kStatusTargetFailed, "could not ask for leave to start: ", strerror(errno),
         "--ask needs a directory that this container and the sidecar may write to.");
  }
}

// "": none yet.
struct Answer {
  char text[512];
};

Answer ReadAnswer(const char* directory, const Nonce& nonce) {
  Answer answer{};
  const int file = open(Join(directory, "/answer").text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return answer;
  const ssize_t bytes = read(file, answer.text, sizeof(answer.text) - 1);
  close(file);
  const size_t length = strlen(nonce.text);
  const bool ours = bytes > static_cast<ssize_t>(length) &&
                    strncmp(answer.text, nonce.text, length) == 0 && answer.text[length] == ' ' &&
                    answer.text[bytes - 1] == '\n';
  if (!ours) return {};
  answer.text[bytes - 1] = '\0';
  memmove(answer.text, answer.text + length + 1, sizeof(answer.text) - length - 1);
  return answer;
}

// Nobody is to answer a request whose gate has gone on.
void TakeBack(const char* directory) { unlink(Join(directory, "/request").text); }

void AskForLeave(const Arguments& arguments) {
  const char* directory = arguments.ask;
  const Nonce nonce = MakeNonce();
  const bool empty = access(Join(arguments.pgdata, "/PG_VERSION").text, F_OK) != 0;
  WriteRequest(directory, nonce, empty);
  dprintf(STDERR_FILENO, "pg-rejoin-gate: asking the sidecar whether this server may be primary\n");
  const Deadline deadline(arguments.ask_seconds);
  do {
    if (unlink(Join(directory, "/break-glass").text) == 0) {
      TakeBack(directory);
      dprintf(STDERR_FILENO, "pg-rejoin-gate: warning: started by break-glass, nobody was asked\n");
      return;
    }
    const Answer answer = ReadAnswer(directory, nonce);
    if (answer.text[0] == '\0') continue;
    TakeBack(directory);
    if (strcmp(answer.text, "go") == 0) return;
    Fail(kStatusNoLeave, "this server may not start read-write, ", answer.text, nullptr);
  } while (deadline.Pause());
  TakeBack(directory);
  Fail(kStatusNoLeave, "no leave to start read-write came from the sidecar", "",
       "See the sidecar's log for why. To start all the same, knowing that no other server is "
       "primary: touch the file \"break-glass\" in the directory given by --ask.");
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
  if (arguments.ask != nullptr && !IsInRecovery(arguments.pgdata)) AskForLeave(arguments);
  // exec puts the handlers back to their defaults.
  execvp(arguments.command[0], arguments.command);
  const int status = errno == ENOENT ? kStatusNotFound : kStatusNotExecutable;
  dprintf(STDERR_FILENO, "pg-rejoin-gate: error: could not run \"%s\": %s\n", arguments.command[0],
          strerror(errno));
  return status;
}
