#include "pod/init.h"

#include <spdlog/fmt/fmt.h>

#include <chrono>
#include <optional>

#include "base/backoff.h"
#include "base/error.h"
#include "base/log.h"
#include "base/utc_time.h"
#include "pod/handover.h"
#include "report/discard_note.h"
#include "report/outcome.h"
#include "report/progress_meter.h"
#include "report/reporter.h"
#include "target/directory_lock.h"
#include "target/side_file.h"
#include "target/target_directory.h"
#include "topology/decision.h"
#include "topology/promotion.h"

namespace pgrejoin {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{500};
constexpr milliseconds kLongestPause{2000};

const char* ReasonOf(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
      return "Misconfigured";
    case ErrorKind::kUnavailable:
      return "Unavailable";
    case ErrorKind::kSourceChanged:
      return "SourceChanged";
    case ErrorKind::kNotRewindable:
      return "NotRewindable";
    case ErrorKind::kTargetInUse:
      return "TargetInUse";
    case ErrorKind::kTargetFailed:
      return "TargetFailed";
    case ErrorKind::kInternal:
      break;
  }
  return "Internal";
}

// Errors that the next round may not meet again.
bool WorthWaiting(ErrorKind kind) {
  return kind == ErrorKind::kUnavailable || kind == ErrorKind::kSourceChanged ||
         kind == ErrorKind::kTargetInUse;
}

class InitRun {
 public:
  InitRun(const PodOptions& options, const InitDependencies& outside, std::stop_token stop)
      : options_(options),
        outside_(outside),
        stop_(std::move(stop)),
        discovery_(outside.api, MakeDiscoveryOptions(options), outside.ask),
        reporter_(outside.report_api, {.pod = options.pod_name,
                                       .pod_uid = options.pod_uid,
                                       .annotation_prefix = options.annotation_prefix,
                                       .termination_log = options.termination_log}) {}

  int Run() {
    Outcome outcome;
    try {
      HandOverGate(options_.bin_dir);
      WritePassfile(options_);
      RemoveCloneRequest(options_);
      RemoveDirectoryNote(options_);
      outcome = RunRounds();
    } catch (const Error& error) {
      outcome = FromError(error);
    } catch (const std::exception& error) {
      outcome = FromError(Error(ErrorKind::kInternal, error.what(),
                                "This is a bug in pg-rejoin; please report it."));
    }
    WriteDiskNote(options_);
    TellWhatWasDiscarded(&outcome);
    outcome.phase = kPhaseDone;
    Stamp(&outcome);
    const bool reported = reporter_.PublishFinal(outcome);
    if (note_ && outcome.rewind) NoteReport(reported);
    return outcome.exit_status;
  }

 private:
  Outcome RunRounds() {
    const auto deadline = begin_ + std::chrono::seconds(options_.deadline_s);
    Backoff backoff(kFirstPause, kLongestPause);
    while (true) {
      Outcome outcome = RunRound();
      if (outcome.kind != OutcomeKind::kWaiting) return outcome;
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
      if (stop_.stop_requested() || left.count() <= 0) return outcome;
      outcome.phase = kPhaseWaiting;
      Stamp(&outcome);
      reporter_.PublishProgress(outcome);
      if (!SleepFor(std::min(backoff.Next(), left), stop_)) {
        return FromError(
            Error(ErrorKind::kUnavailable, "interrupted while waiting: " + outcome.message));
      }
    }
  }

  // One look at the world and what follows from it. kWaiting: try again.
  Outcome RunRound() {
    try {
      if (!lock_) lock_.emplace(DirectoryLock::Acquire(options_.pgdata));
      if (!local_) Inspect();
      const Evidence evidence = discovery_.Gather(*local_);
      const Decision decision = Decide(*local_, evidence);
      Log(LogLevel::kDebug, decision.message,
          {{"action", ActionName(decision.action)},
           {"reason", decision.reason},
           {"directory", DirectoryKindName(local_->kind)},
           {"authority", AuthorityStateName(evidence.authority)},
           {"primary", evidence.primary},
           {"primary_state", PrimaryStateName(evidence.primary_state)}});
      return Act(decision, evidence);
    } catch (const Error& error) {
      if (stop_.stop_requested() || !WorthWaiting(error.kind())) throw;
      Outcome outcome = FromError(error);
      outcome.kind = OutcomeKind::kWaiting;
      return outcome;
    }
  }

  void Inspect() {
    local_ = found_ = outside_.inspect(options_.pgdata);
    const bool has_server_files =
        local_->kind != DirectoryKind::kEmpty && local_->kind != DirectoryKind::kHalfMade;
    if (has_server_files && RestoreDirectoryMode(*lock_, DataDirectoryMode(options_))) {
      LogInfo("restored mode {} of the data directory", options_.data_directory_mode);
    }
    if (has_server_files) RecallDiscards();
  }

  // What the directory's last rewind discarded, if that may not have been told
  // (report/discard_note.h).
  void RecallDiscards() {
    note_.reset();
    try {
      const auto text = ReadSideFile(*lock_, kDiscardNoteSuffix);
      if (!text) return;
      note_ = ParseDiscardNote(*text);
      if (!note_) LogWarning("the note of what an earlier rewind discarded is damaged");
      if (note_ && IsToBeTold(*note_, ControlCrc(options_.pgdata))) return;
      note_.reset();
      RemoveSideFile(*lock_, kDiscardNoteSuffix);
    } catch (const Error& error) {
      note_.reset();
      LogWarning("what an earlier rewind discarded is not known: {}", error.message());
    }
  }

  // Counting must not keep a server down.
  void NoteDiscards(const RewindResult& rewind) {
    if (note_ && IsSameRewind(note_->rewind, rewind)) return;  // noted by a run that was killed
    DiscardNote note;
    note.rewind = note_ && !note_->reported ? Sum(note_->rewind, rewind) : rewind;
    note_ = note;
    try {
      note_->control_crc = ControlCrc(options_.pgdata);
      WriteSideFile(*lock_, kDiscardNoteSuffix, DiscardNoteText(*note_));
    } catch (const Error& error) {
      LogWarning("what was discarded is only in this run's report: {}", error.message());
    }
  }

  void NoteReport(bool reported) {
    ++note_->told;
    note_->reported = note_->reported || reported;
    try {
      WriteSideFile(*lock_, kDiscardNoteSuffix, DiscardNoteText(*note_));
    } catch (const Error& error) {
      LogWarning("the note of what was discarded is as it was: {}", error.message());
    }
  }

  // A rewind of this run is in the note already, together with what had not been told before.
  void TellWhatWasDiscarded(Outcome* outcome) const {
    const bool ready = outcome->exit_status == 0 && outcome->kind != OutcomeKind::kCloning;
    if (!note_ || !ready) return;
    const bool own = outcome->rewind && outcome->rewind->outcome != RewindOutcome::kNothingToDo;
    const uint64_t before = own ? outcome->rewind->discarded_transactions : 0;
    // Where the directory is now is this run's to say.
    const RewindResult now = outcome->rewind.value_or(RewindResult{});
    outcome->rewind = note_->rewind;
    outcome->rewind->source_timeline = now.source_timeline;
    outcome->rewind->duration = now.duration;
    const uint64_t discarded = note_->rewind.discarded_transactions;
    if (own && discarded == before) return;
    outcome->message +=
        fmt::format("; an earlier run discarded {} transactions", discarded - before);
    // The sidecar goes on from here as after that run.
    if (outcome->kind == OutcomeKind::kFollowed) outcome->kind = OutcomeKind::kRewound;
  }

  Outcome Act(const Decision& decision, const Evidence& evidence) {
    Outcome outcome = FromDecision(decision, evidence);
    switch (decision.action) {
      case Action::kStart:
        outcome.kind = OutcomeKind::kStarted;
        if (local_->kind != DirectoryKind::kEmpty) {
          WriteDirectoryNote(options_, {local_->system_identifier, local_->history});
        }
        return outcome;
      case Action::kReinitialise:
        outcome.kind = OutcomeKind::kStarted;
        outcome.message += "; what there was is now " + SetAside(*lock_);
        return outcome;
      case Action::kClaim:
        return ActClaim(std::move(outcome), evidence);
      case Action::kClone:
        WriteCloneRequest(options_, evidence.primary_host);
        NoteBranchOf(*evidence.primary_identity);
        outcome.kind = OutcomeKind::kCloning;
        return outcome;
      case Action::kFollow:
      case Action::kRewind:
      case Action::kResume:
        return ActRewind(std::move(outcome), decision, evidence);
      case Action::kWait:
        outcome.kind = OutcomeKind::kWaiting;
        outcome.exit_status = ExitStatus(decision.kind);
        return outcome;
      case Action::kRefuse:
        outcome.kind = OutcomeKind::kRefused;
        outcome.exit_status = ExitStatus(decision.kind);
        return outcome;
    }
    throw Error(ErrorKind::kInternal, "unknown action");
  }

  Outcome ActClaim(Outcome outcome, const Evidence& evidence) {
    if (Claim(&discovery_.store(), evidence, *local_)) {
      outcome.kind = OutcomeKind::kClaimed;
      outcome.message = "claimed the authority record: " + outcome.message;
      return outcome;
    }
    outcome.kind = OutcomeKind::kWaiting;
    outcome.reason = "ClaimLost";
    outcome.message = "another pod changed the authority record first";
    outcome.exit_status = ExitStatus(ErrorKind::kUnavailable);
    return outcome;
  }

  Outcome ActRewind(Outcome outcome, const Decision& decision, const Evidence& evidence) {
    ++attempt_;
    if (decision.action != Action::kFollow) {
      Outcome begin = outcome;
      begin.kind = OutcomeKind::kWaiting;
      begin.phase = decision.action == Action::kRewind ? "rewinding" : "resuming";
      Stamp(&begin);
      reporter_.PublishProgress(begin);
    }
    const DirectoryState before = *local_;
    local_.reset();  // whatever happens now, the next round looks again
    const std::unique_ptr<RewindSource> source = outside_.connect(evidence.primary_host);
    ProgressMeter meter(false, [](const std::string& line) { LogInfo("{}", line); });
    RewindOptions rewind;
    rewind.connections = options_.connections;
    rewind.extra_files = ExtraFiles::kKeepTarget;
    rewind.create_standby_signal = true;
    rewind.primary_conninfo = StandbyConninfo(options_);
    rewind.confirm_source = [&] { discovery_.ConfirmAgain(evidence, before); };
    rewind.on_published = [this](const RewindResult& result) { NoteDiscards(result); };
    rewind.on_progress = [&](const RewindProgress& progress) {
      meter.Update(progress, ProgressMeter::Clock::now());
    };
    rewind.discarded_transactions_max = options_.max_discarded_transactions;
    if (rewind.discarded_transactions_max) {
      const uint64_t approved = ApprovedDiscard(before, evidence).value_or(0);
      rewind.discarded_transactions_max = std::max(*rewind.discarded_transactions_max, approved);
    }
    rewind.stop = stop_;
    outcome.rewind = outside_.rewind(*lock_, *source, rewind);
    NoteBranchOf(*evidence.primary_identity);
    outcome.local = before;
    Describe(&outcome, evidence);
    if (evidence.record.approval || evidence.record.discard) DropApprovals();
    return outcome;
  }

  // The directory is, or will be, the primary's standby.
  void NoteBranchOf(const SourceIdentity& primary) {
    WriteDirectoryNote(options_, {primary.system_identifier, primary.history});
  }

  // What was done is right whether or not this succeeds.
  void DropApprovals() {
    try {
      DropApproval(&discovery_.store(), options_.pod_name);
    } catch (const Error& error) {
      LogWarning("the approval of this pod is still in the record: {}", error.message());
    }
  }

  static void Describe(Outcome* outcome, const Evidence& evidence) {
    const RewindResult& result = *outcome->rewind;
    if (result.outcome == RewindOutcome::kNothingToDo) {
      outcome->kind = OutcomeKind::kFollowed;
      outcome->message = "follows " + evidence.primary + "; nothing had to be undone";
      return;
    }
    const bool resumed = result.outcome == RewindOutcome::kResumed;
    outcome->kind = resumed ? OutcomeKind::kResumed : OutcomeKind::kRewound;
    outcome->message =
        fmt::format("{} onto {}, timeline {}: parted at {}, {} transactions discarded, {} copied",
                    resumed ? "finished an interrupted rewind" : "rewound", evidence.primary,
                    result.source_timeline, result.fork_lsn.ToString(),
                    result.discarded_transactions, FormatBytes(result.bytes_copied));
  }

  Outcome FromDecision(const Decision& decision, const Evidence& evidence) const {
    Outcome outcome;
    outcome.reason = decision.reason;
    outcome.message = decision.message;
    outcome.hint = decision.hint;
    if (evidence.primary_state == PrimaryState::kConfirmed) outcome.source = evidence.primary;
    outcome.local = local_;
    return outcome;
  }

  Outcome FromError(const Error& error) const {
    Outcome outcome;
    outcome.kind =
        error.kind() == ErrorKind::kNotRewindable ? OutcomeKind::kRefused : OutcomeKind::kFailed;
    outcome.reason = stop_.stop_requested() ? "Interrupted" : ReasonOf(error.kind());
    outcome.message = error.message();
    outcome.hint = error.hint();
    outcome.exit_status = ExitStatus(error.kind());
    // A refusal comes before the first change. A person's approval is bound to what was found.
    outcome.local = outcome.kind == OutcomeKind::kRefused ? found_ : local_;
    return outcome;
  }

  void Stamp(Outcome* outcome) const {
    outcome->attempt = std::max(attempt_, 1);
    outcome->duration = std::chrono::duration_cast<milliseconds>(Clock::now() - begin_);
    outcome->finished_at = UnixMicrosecondsNow();
  }

  const PodOptions& options_;
  const InitDependencies& outside_;
  const std::stop_token stop_;
  const Clock::time_point begin_ = Clock::now();
  Discovery discovery_;
  Reporter reporter_;
  std::optional<DirectoryLock> lock_;
  std::optional<DirectoryState> local_;  // good while the lock is held and nothing was changed
  std::optional<DirectoryState> found_;  // last
  std::optional<DiscardNote> note_;      // of a rewind that may not have been told
  int attempt_ = 0;
};

}  // namespace

int RunInit(const PodOptions& options, const InitDependencies& outside, std::stop_token stop) {
  return InitRun(options, outside, std::move(stop)).Run();
}

}  // namespace pgrejoin
