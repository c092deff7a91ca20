#include "pgdata/timeline_history.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/parse_number.h"

namespace pgrejoin {
namespace {

constexpr size_t kEntriesMax = 100'000;

std::string_view TakeLine(std::string_view* text) {
  const size_t newline = text->find('\n');
  const std::string_view line = text->substr(0, newline);
  text->remove_prefix(newline == std::string_view::npos ? text->size() : newline + 1);
  return line;
}

std::string_view TakeField(std::string_view* line) {
  const size_t begin = line->find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) {
    *line = {};
    return {};
  }
  const size_t end = line->find_first_of(" \t\r", begin);
  const std::string_view field = line->substr(begin, end - begin);
  line->remove_prefix(end == std::string_view::npos ? line->size() : end);
  return field;
}

std::optional<TimelineId> ParseTimelineId(std::string_view text) {
  const auto tli = ParseNumber<TimelineId>(text);
  return tli == TimelineId{0} ? std::nullopt : tli;
}

[[noreturn]] void Malformed(TimelineId own, std::string_view line) {
  throw Error(ErrorKind::kNotRewindable, "syntax error in history file of timeline " +
                                             std::to_string(own) + ": " + Printable(line));
}

}  // namespace

TimelineHistory TimelineHistory::Parse(TimelineId own, std::string_view history_file) {
  TimelineHistory history;
  Lsn begin;
  while (!history_file.empty()) {
    const std::string_view line = TakeLine(&history_file);
    std::string_view rest = line;
    const std::string_view tli_text = TakeField(&rest);
    if (tli_text.empty() || tli_text.front() == '#') continue;
    const auto tli = ParseTimelineId(tli_text);
    const auto end = Lsn::Parse(TakeField(&rest));
    if (!tli || !end || !end->valid() || *tli >= own || *end < begin ||
        history.entries_.size() >= kEntriesMax ||
        (!history.entries_.empty() && *tli <= history.entries_.back().tli)) {
      Malformed(own, line);
    }
    history.entries_.push_back({*tli, begin, *end});
    begin = *end;
  }
  history.entries_.push_back({own, begin, {}});
  return history;
}

std::optional<TimelineHistory> TimelineHistory::FromString(std::string_view text) {
  TimelineHistory history;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    const size_t at = item.find('@');
    if (at == std::string_view::npos) return std::nullopt;
    const auto tli = ParseTimelineId(item.substr(0, at));
    const auto begin = Lsn::Parse(item.substr(at + 1));
    if (!tli || !begin || history.entries_.size() >= kEntriesMax) return std::nullopt;
    if (history.entries_.empty()) {
      if (begin->valid()) return std::nullopt;
    } else {
      TimelineEntry& last = history.entries_.back();
      if (*tli <= last.tli || !begin->valid() || *begin < last.begin) return std::nullopt;
      last.end = *begin;
    }
    history.entries_.push_back({*tli, *begin, {}});
    if (comma == std::string_view::npos) return history;
    text.remove_prefix(comma + 1);
  }
}

TimelineId TimelineHistory::TimelineAt(Lsn lsn) const {
  for (const TimelineEntry& entry : entries_) {
    if (!entry.end.valid() || lsn < entry.end) return entry.tli;
  }
  return entries_.back().tli;
}

bool TimelineHistory::Contains(const TimelineHistory& other, Lsn lsn) const {
  const auto fork = FindForkPoint(other, *this);
  return fork && (!fork->lsn.valid() || lsn <= fork->lsn);
}

bool TimelineHistory::ContainsBranch(const TimelineHistory& branch) const {
  const auto& theirs = branch.entries_;
  return theirs.size() <= entries_.size() &&
         std::equal(theirs.begin(), theirs.end(), entries_.begin(),
                    [](const TimelineEntry& one, const TimelineEntry& other) {
                      return one.tli == other.tli && one.begin == other.begin;
                    });
}

std::string TimelineHistory::ToString() const {
  std::string text;
  for (const TimelineEntry& entry : entries_) {
    if (!text.empty()) text += ',';
    text += std::to_string(entry.tli) + "@" + entry.begin.ToString();
  }
  return text;
}

std::optional<ForkPoint> FindForkPoint(const TimelineHistory& target,
                                       const TimelineHistory& source) {
  const auto& a = target.entries();
  const auto& b = source.entries();
  size_t common = 0;
  while (common < a.size() && common < b.size() && a[common].tli == b[common].tli &&
         a[common].begin == b[common].begin) {
    ++common;
  }
  if (common == 0) return std::nullopt;
  const Lsn end_a = a[common - 1].end;
  const Lsn end_b = b[common - 1].end;
  Lsn fork = end_a;
  if (!end_a.valid() || (end_b.valid() && end_b < end_a)) fork = end_b;
  return ForkPoint{a[common - 1].tli, fork};
}

std::string TimelineHistoryFileName(TimelineId tli) {
  char name[32];
  std::snprintf(name, sizeof(name), "%08X.history", tli);
  return name;
}

}  // namespace pgrejoin
