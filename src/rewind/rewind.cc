#include "rewind/rewind.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "rewind/apply.h"
#include "rewind/divergence.h"
#include "rewind/journal.h"
#include "rewind/local_state.h"
#include "rewind/plan_report.h"
#include "rewind/progress.h"
#include "rewind/recovery_conf.h"
#include "rewind/survey.h"

namespace pgrejoin {
namespace {

void Describe(const RewindFacts& facts, RewindResult* result) {
  result->fork_lsn = facts.fork.lsn;
  result->start_lsn = facts.label.start;
  result->target_end = facts.target_end;
  result->target_timeline = facts.target_history.timeline();
  result->discarded_transactions = facts.discarded_transactions;
  result->discarded_bytes = facts.discarded_bytes;
  if (facts.discarded_times) {
    result->discarded_from = FormatTimestamp(facts.discarded_times->first);
    result->discarded_to = FormatTimestamp(facts.discarded_times->last);
  }
}

// A standby that has less than its primary does not start ("recovery aborted because of
// insufficient parameter settings"). What the target will be started with is not known here, only
// what it had.
void WarnOfLowLimits(const ControlFile& target, const ControlFile& source) {
  const auto theirs = source.limits();
  for (size_t i = 0; const ServerLimit& own : target.limits()) {
    const ServerLimit& needed = theirs[i++];
    if (own.value >= needed.value) continue;
    LogWarning("{} was {} on the target and is {} on the source: start the target with {} or more",
               own.name, own.value, needed.value, needed.value);
  }
}

// What the control file of a directory with a journal says about the journal.
enum class JournalMeaning { kResume, kFinished, kNothingDone, kServerRan };

// Whether now is what a server made of the control file that a rewind published.
bool DescendsFrom(const ControlFile& now, const ControlFile& published) {
  return now.system_identifier() == published.system_identifier() &&
         now.timeline() >= published.timeline() &&
         (now.min_recovery_point() >= published.min_recovery_point() ||
          now.checkpoint_lsn() >= published.min_recovery_point());
}

JournalMeaning MeaningOf(const TargetDirectory& target, const RewindFacts& facts) {
  const ControlFile now = ReadTargetControl(target);
  const auto same = [&](const ControlFile& other) {
    return std::ranges::equal(now.raw(), other.raw());
  };
  if (same(facts.target_control.Fenced())) return JournalMeaning::kResume;
  if (!WasFenced(target)) return JournalMeaning::kNothingDone;
  // Someone took the fence away and put the original back.
  if (same(facts.target_control)) return JournalMeaning::kResume;
  const auto published = ReadPublished(target);
  if (published && DescendsFrom(now, *published)) return JournalMeaning::kFinished;
  return JournalMeaning::kServerRan;
}

void CheckDiscarded(const RewindResult& rewind, const std::optional<uint64_t>& transactions_max) {
  if (!transactions_max || rewind.discarded_transactions <= *transactions_max) return;
  throw Error(ErrorKind::kNotRewindable,
              fmt::format("the rewind would discard {} transactions of the target, committed from "
                          "{} to {}, and the limit is {}",
                          rewind.discarded_transactions, rewind.discarded_from, rewind.discarded_to,
                          *transactions_max),
              fmt::format("Look which of the two servers has the data that counts. If this one's "
                          "may go, raise the limit, or approve it once (in another pod's container "
                          "\"rejoin\": pg-rejoin approve --pod THIS_POD --discard {}).",
                          rewind.discarded_transactions));
}

// A second run after something failed must find the directory that the first one left.
[[noreturn]] void RethrowAsIncomplete(const Error& error) {
  if (error.kind() == ErrorKind::kNotRewindable) {
    throw Error(ErrorKind::kTargetFailed, "rewind incomplete: " + error.message(), error.hint());
  }
  throw error;
}

class Rewinder {
 public:
  Rewinder(TargetDirectory target, RewindSource& source, const RewindOptions& options)
      : target_(std::move(target)),
        source_(source),
        options_(options),
        progress_(options.on_progress) {}

  RewindResult Run() {
    const auto begun = std::chrono::steady_clock::now();
    if (JournalExists(target_)) {
      Resume();
    } else {
      Start();
    }
    result_.bytes_copied = progress_.bytes_done();
    result_.duration = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begun);
    return result_;
  }

 private:
  void Start() {
    progress_.Phase("reading WAL");
    const LocalState local = ReadLocalState(target_);
    const SourceIdentity identity = source_.Identify();
    const ControlFile source_control = ReadControlOf(source_);
    CheckCompatible(local.control, source_control);
    WarnOfLowLimits(local.control, source_control);
    const Divergence divergence = FindDivergence(local, identity);
    result_.source_timeline = identity.history.timeline();
    result_.target_timeline = local.history.timeline();
    result_.target_end = local.tail.end;
    if (!divergence.diverged) {
      Follow(local, identity);
      return;
    }
    CheckRewindable(local.control, identity, source_control, options_.standby_source);
    LogInfo("servers diverged at WAL location {} on timeline {}", divergence.fork.lsn.ToString(),
            divergence.fork.tli);
    RewindFacts facts =
        SurveyTarget(target_, local, divergence.fork, source_, identity, source_control);
    Describe(facts, &result_);
    LogInfo(
        "rewinding from last common checkpoint at {} on timeline {}: {} transactions and {} "
        "bytes of WAL of the target will be discarded",
        facts.label.checkpoint.ToString(), facts.label.timeline, facts.discarded_transactions,
        facts.discarded_bytes);
    CheckDiscarded(result_, options_.discarded_transactions_max);
    result_.outcome = RewindOutcome::kRewound;
    if (options_.dry_run) {
      result_.bytes_to_copy =
          PlanWithoutChanges(target_, facts, source_, identity, options_).bytes_to_copy;
      return;
    }
    Carry(&facts, identity);
  }

  // Nothing has to be undone; the end of the target's WAL is on the source's line.
  void Follow(const LocalState& local, const SourceIdentity& identity) {
    TargetWal wal(target_, local.control, local.history);
    const bool checked = CheckCommonRecord(source_, identity.history, LayoutOf(local.control),
                                           ReadRecordAt(wal.reader(), local.tail.last_record));
    if (!checked && !local.control.in_recovery()) {
      throw Error(
          ErrorKind::kNotRewindable,
          fmt::format("the source no longer has its WAL at {}, so it cannot be told whether "
                      "the target is on its line",
                      local.tail.last_record.ToString()),
          "Clone the target anew. A larger wal_keep_size prevents this.");
    }
    result_.outcome = RewindOutcome::kNothingToDo;
    if (options_.dry_run) return;
    RemoveJournal(target_);  // there is none, but maybe staged WAL of a run that was given up
    const TimelineId timeline = identity.history.timeline();
    const std::string history = "pg_wal/" + TimelineHistoryFileName(timeline);
    if (timeline != local.history.timeline() && !target_.Exists(history)) {
      if (const auto content = ReadHistoryFile(source_, identity.history, timeline)) {
        target_.ReplaceFile(history, AsBytes(*content));
      }
    }
    if (options_.confirm_source) options_.confirm_source();
    HideForeignHistories(identity.history);
    WriteRecoveryConf(target_, options_.primary_conninfo, options_.create_standby_signal);
  }

  // Recovery follows the newest history file that it finds in pg_wal, also one of a dead line.
  void HideForeignHistories(const TimelineHistory& line) {
    std::vector<std::string> foreign;
    target_.ListFiles([&](const TargetFile& file) {
      if (!file.path.starts_with("pg_wal/") || !file.path.ends_with(".history")) return;
      const bool ours = std::ranges::any_of(line.entries(), [&](const TimelineEntry& entry) {
        return file.path == "pg_wal/" + TimelineHistoryFileName(entry.tli);
      });
      if (!ours) foreign.push_back(file.path);
    });
    for (const std::string& path : foreign) {
      LogWarning("renaming {}: it is not on the source's line", path);
      target_.Rename(path, path + ".foreign");
    }
  }

  void Carry(RewindFacts* facts, const SourceIdentity& identity) {
    RemoveLeftovers(target_);
    // A run that was killed before its journal has left WAL, and nothing that says whose it is.
    if (!StagedIsOf(identity, *facts)) ForgetStagedWal(target_);
    RewindRun run(target_, source_, options_, *facts, identity, progress_, /*resumed=*/false);
    try {
      run.Prepare();
      NoteAttempt(run.plan(), facts);
      WriteJournal(target_, *facts, run.plan());
    } catch (const Error& error) {
      // WAL that is here already need not be sent again, if there will be another time.
      const bool again =
          error.kind() == ErrorKind::kUnavailable || error.kind() == ErrorKind::kSourceChanged;
      again ? RemoveLeftovers(target_) : RemoveJournal(target_);
      throw;
    } catch (...) {
      RemoveJournal(target_);
      throw;
    }
    result_.bytes_to_copy = run.plan().bytes_to_copy;
    try {
      result_.source_end = run.Carry(CutsInto(facts, run.plan()));
      Finish();
    } catch (const Error& error) {
      RethrowAsIncomplete(error);
    }
  }

  // What is cut may have its old length again before the next attempt.
  RewindRun::NoteCuts CutsInto(RewindFacts* facts, const RewindPlan& plan) {
    return [this, facts, &plan](const std::map<std::string, uint64_t>& cuts) {
      for (const auto& [path, bytes] : cuts) facts->NoteOwnBytes(path, bytes);
      WriteJournal(target_, *facts, plan);
    };
  }

  void Resume() {
    RewindFacts facts = ReadJournal(target_);
    Describe(facts, &result_);
    result_.outcome = RewindOutcome::kResumed;
    switch (MeaningOf(target_, facts)) {
      case JournalMeaning::kServerRan:
        throw Error(ErrorKind::kTargetFailed,
                    "a server has run on this directory although its rewind was not finished",
                    "Clone the target anew.");
      case JournalMeaning::kFinished:
        LogInfo("an earlier run had finished its rewind; removing its journal");
        result_.source_timeline = facts.source_history.timeline();
        if (!options_.dry_run && options_.on_published) options_.on_published(result_);
        return StartWithoutJournal(RewindOutcome::kResumed);
      case JournalMeaning::kNothingDone:
        LogInfo("an earlier run had changed nothing; removing its journal");
        return StartWithoutJournal(RewindOutcome::kNothingToDo);
      case JournalMeaning::kResume:
        break;
    }
    LogInfo("resuming an interrupted rewind");
    if (options_.dry_run) return;
    try {
      const SourceIdentity identity = source_.Identify();
      AdoptSource(identity, &facts);
      result_.source_timeline = identity.history.timeline();
      RewindRun run(target_, source_, options_, facts, identity, progress_, /*resumed=*/true);
      run.Prepare();
      NoteAttempt(run.plan(), &facts);
      WriteJournal(target_, facts, run.plan());
      result_.bytes_to_copy = run.plan().bytes_to_copy;
      result_.source_end = run.Carry(CutsInto(&facts, run.plan()));
      Finish();
    } catch (const Error& error) {
      RethrowAsIncomplete(error);
    }
  }

  void Finish() {
    result_.bytes_copied = progress_.bytes_done();
    if (options_.on_published) options_.on_published(result_);
    RemoveJournal(target_);
  }

  // The directory may have lived on since: what has to be done is decided from the beginning.
  void StartWithoutJournal(RewindOutcome if_nothing_to_do) {
    if (!options_.dry_run) RemoveJournal(target_);
    Start();
    if (result_.outcome == RewindOutcome::kNothingToDo) result_.outcome = if_nothing_to_do;
  }

  // Whether all that earlier attempts copied is of source's past. Equal histories are not enough:
  // two servers can have become the same timeline at the same place. A standby that is another one,
  // or takes another one's place, may have replayed less than was copied.
  bool IsTheServerCopiedFrom(const SourceIdentity& source, const RewindFacts& facts) {
    if (source.history != facts.source_history || source.flush_lsn < facts.source_flush)
      return false;
    const bool standby = source.in_recovery || facts.source_in_recovery;
    if (standby && source.incarnation != facts.source_incarnation) return false;
    return StagedIsOf(source, facts);
  }

  bool StagedIsOf(const SourceIdentity& source, const RewindFacts& facts) {
    return SourceWal(source_, target_, facts, source.history).StagedIsTheirs(source.flush_lsn);
  }

  // The earlier attempts copied from a server of facts' line; now it is identity that is copied
  // from.
  void AdoptSource(const SourceIdentity& identity, RewindFacts* facts) {
    const ControlFile control = ReadControlOf(source_);
    CheckRewindable(facts->target_control, identity, control, options_.standby_source);
    WarnOfLowLimits(facts->target_control, control);
    if (IsTheServerCopiedFrom(identity, *facts)) {
      NoteSource(identity, facts);
      // A standby in the primary's place may have to be replayed from an older checkpoint.
      if (control.checkpoint().redo < facts->label.start) {
        SurveyAgain(target_, source_, identity, control, facts);
      }
      return;
    }
    LogWarning(
        "the source is on another line ({} up to {}) than when the rewind began ({} up to {}), or "
        "that cannot be told: deciding anew",
        identity.history.ToString(), identity.flush_lsn.ToString(),
        facts->source_history.ToString(), facts->source_flush.ToString());
    SurveyAgain(target_, source_, identity, control, facts);
    ForgetStagedWal(target_);
    ForgetCopiedBlocks(target_);
    Describe(*facts, &result_);
    KillPoint("line-changed");
  }

  TargetDirectory target_;
  RewindSource& source_;
  const RewindOptions& options_;
  ProgressReporter progress_;
  RewindResult result_;
};

}  // namespace

RewindResult Rewind(const DirectoryLock& lock, RewindSource& source, const RewindOptions& options) {
  TargetDirectory target = options.dry_run ? TargetDirectory::OpenForReading(lock.pgdata())
                                           : TargetDirectory::OpenForChange(lock);
  target.SetArchive(options.archive);
  return Rewinder(std::move(target), source, options).Run();
}

}  // namespace pgrejoin
