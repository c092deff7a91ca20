// The one exception of this program. An Error ends the run; answers that a caller can work with
// (end of WAL, HTTP 404, "no divergence", a short read) are values instead.
//
// Messages are written like Postgres' own: lower case, no full stop. A hint is a whole sentence
// that says what to do next. Callers on the way up add context with WithContext().
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace pgrejoin {

// Why a run ended: each kind is one exit status of `pg-rejoin init`
// (docs/reference/exit-status.md).
enum class ErrorKind {
  kUsage = 2,           // options or configuration
  kUnavailable = 10,    // source or Kubernetes not there, interrupted, no primary yet: retry
  kSourceChanged = 11,  // new timeline or other server incarnation: retry re-plans or resumes
  kNotRewindable = 20,  // refused, target untouched
  kTargetInUse = 21,    // a server or another rejoin holds the directory
  kTargetFailed = 30,   // I/O error, no space, corrupt, half-made: storage or a person must act
  kInternal = 70,       // a check of our own logic failed
};

constexpr int ExitStatus(ErrorKind kind) { return static_cast<int>(kind); }

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message, std::string hint = {});

  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }
  const char* what() const noexcept override { return message_.c_str(); }

  // A copy whose message begins with "context: ".
  Error WithContext(std::string_view context) const;

 private:
  ErrorKind kind_;
  std::string message_;
  std::string hint_;
};

// An Error from a failed system call: "could not open file "x": No such file or directory".
// Uses errno, so call it first thing.
Error SystemError(ErrorKind kind, std::string_view what);

// Text from outside (server, API, file names) made fit for a log line: control characters and bytes
// that are not UTF-8 are escaped, and the length is bounded.
std::string Printable(std::string_view foreign);

}  // namespace pgrejoin
