// Timeline histories: the file's text and our own notation. Input: own timeline, text.
#include "fuzz/fuzz.h"
#include "pgdata/timeline_history.h"

namespace pgrejoin::fuzz {
namespace {

void CheckHistory(const TimelineHistory& history) {
  const auto& entries = history.entries();
  Require(!entries.empty(), "a history is never empty");
  Require(!entries.front().begin.valid() && !entries.back().end.valid(), "it is open at both ends");
  for (size_t i = 1; i < entries.size(); ++i) {
    Require(entries[i].tli > entries[i - 1].tli, "timelines ascend");
    Require(entries[i].begin == entries[i - 1].end, "each begins where the one before ends");
    Require(entries[i].begin >= entries[i - 1].begin, "positions do not go back");
  }
  Require(history.TimelineAt({~uint64_t{0}}) == history.timeline(), "the last one has no end");
  const auto again = TimelineHistory::FromString(history.ToString());
  Require(again.has_value() && *again == history, "what is printed is read again");

  const auto with_itself = FindForkPoint(history, history);
  Require(with_itself && !with_itself->lsn.valid() && with_itself->tli == history.timeline(),
          "a history never parts from itself");
  Require(history.Contains(history, {~uint64_t{0}}), "and contains itself");
}

void CheckPair(const TimelineHistory& a, const TimelineHistory& b) {
  const auto there = FindForkPoint(a, b);
  const auto back = FindForkPoint(b, a);
  Require(there.has_value() == back.has_value(), "parting is mutual");
  if (there) Require(there->tli == back->tli && there->lsn == back->lsn, "at one place");
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const TimelineId own = input.Take<uint16_t>() + 1u;
  const std::string_view text = input.Rest();

  auto history = TimelineHistory::Parse(1, {});
  if (Accepts([&] { history = TimelineHistory::Parse(own, text); })) {
    Require(history.timeline() == own, "the last timeline is the file's own");
    CheckHistory(history);
  }
  // Our notation, twice: two nodes.
  const size_t space = text.find(' ');
  const auto first = TimelineHistory::FromString(text.substr(0, space));
  if (first) CheckHistory(*first);
  if (first) CheckPair(*first, history);
  if (!first || space == std::string_view::npos) return 0;
  const auto second = TimelineHistory::FromString(text.substr(space + 1));
  if (second) CheckPair(*first, *second);
  return 0;
}
