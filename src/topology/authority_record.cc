#include "topology/authority_record.h"

#include "base/error.h"
#include "base/parse_number.h"

namespace pgrejoin {
namespace {

constexpr const char* kSystemIdentifier = "system-identifier";
constexpr const char* kEpoch = "epoch";
constexpr const char* kPrimary = "primary";
constexpr const char* kTimeline = "timeline";
constexpr const char* kSwitchLsn = "switch-lsn";
constexpr const char* kHistory = "history";
constexpr const char* kPaused = "paused";
constexpr const char* kApprovalPod = "approval-pod";
constexpr const char* kApprovalSystemIdentifier = "approval-system-identifier";
constexpr const char* kApprovalHistory = "approval-history";
constexpr const char* kDiscardPod = "discard-pod";
constexpr const char* kDiscardSystemIdentifier = "discard-system-identifier";
constexpr const char* kDiscardHistory = "discard-history";
constexpr const char* kDiscardTransactions = "discard-transactions";
constexpr size_t kPodNameBytesMax = 253;

using Data = std::map<std::string, std::string>;

[[noreturn]] void Malformed(const char* key, const std::string& value) {
  throw Error(
      ErrorKind::kUnavailable,
      std::string("authority record: \"") + key + "\" is malformed: \"" + Printable(value) + "\"",
      "Put the ConfigMap right by hand; until then nobody is taken for the primary.");
}

std::string Get(const Data& data, const char* key) {
  const auto found = data.find(key);
  return found == data.end() ? std::string() : found->second;
}

template <typename Number>
std::optional<Number> GetNumber(const Data& data, const char* key) {
  const std::string text = Get(data, key);
  if (text.empty()) return std::nullopt;
  const auto number = ParseNumber<Number>(text);
  if (!number) Malformed(key, text);
  return number;
}

std::string GetPodName(const Data& data, const char* key) {
  std::string name = Get(data, key);
  const bool valid =
      name.size() <= kPodNameBytesMax &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") == std::string::npos;
  if (!valid) Malformed(key, name);
  return name;
}

std::optional<std::string> OrNothing(bool present, std::string value) {
  if (!present) return std::nullopt;
  return value;
}

std::optional<Approval> GetApproval(const Data& data, const char* pod_key,
                                    const char* system_identifier_key, const char* history_key) {
  const std::string pod = GetPodName(data, pod_key);
  if (pod.empty()) return std::nullopt;
  const auto system_identifier = GetNumber<uint64_t>(data, system_identifier_key);
  if (!system_identifier) Malformed(system_identifier_key, "");
  return Approval{pod, *system_identifier, Get(data, history_key)};
}

}  // namespace

AuthorityRecord ParseAuthorityRecord(const Data& data) {
  AuthorityRecord record;
  record.system_identifier = GetNumber<uint64_t>(data, kSystemIdentifier);
  record.epoch = GetNumber<uint64_t>(data, kEpoch).value_or(0);
  record.primary = GetPodName(data, kPrimary);
  record.timeline = GetNumber<TimelineId>(data, kTimeline).value_or(0);
  const std::string switch_lsn = Get(data, kSwitchLsn);
  if (!switch_lsn.empty()) {
    const auto parsed = Lsn::Parse(switch_lsn);
    if (!parsed) Malformed(kSwitchLsn, switch_lsn);
    record.switch_lsn = *parsed;
  }
  const std::string history = Get(data, kHistory);
  if (!history.empty()) {
    record.history = TimelineHistory::FromString(history);
    if (!record.history) Malformed(kHistory, history);
  }
  const std::string paused = Get(data, kPaused);
  if (paused != "" && paused != "true" && paused != "false") Malformed(kPaused, paused);
  record.paused = paused == "true";
  record.approval = GetApproval(data, kApprovalPod, kApprovalSystemIdentifier, kApprovalHistory);
  if (const auto of = GetApproval(data, kDiscardPod, kDiscardSystemIdentifier, kDiscardHistory)) {
    const auto transactions = GetNumber<uint64_t>(data, kDiscardTransactions);
    if (!transactions) Malformed(kDiscardTransactions, "");
    record.discard = DiscardApproval{*of, *transactions};
  }
  // An emptied "primary" beside a later epoch is a damaged record, not an unclaimed one.
  if (record.primary.empty() && (record.epoch != 0 || record.system_identifier)) {
    Malformed(kPrimary, "");
  }
  return record;
}

KeyChanges AuthorityRecordToData(const AuthorityRecord& record) {
  const bool approved = record.approval.has_value();
  const Approval approval = record.approval.value_or(Approval{});
  const bool discards = record.discard.has_value();
  const DiscardApproval discard = record.discard.value_or(DiscardApproval{});
  return {
      {kSystemIdentifier, OrNothing(record.system_identifier.has_value(),
                                    std::to_string(record.system_identifier.value_or(0)))},
      {kEpoch, OrNothing(record.epoch != 0, std::to_string(record.epoch))},
      {kPrimary, OrNothing(!record.primary.empty(), record.primary)},
      {kTimeline, OrNothing(record.timeline != 0, std::to_string(record.timeline))},
      {kSwitchLsn, OrNothing(record.switch_lsn.valid(), record.switch_lsn.ToString())},
      {kHistory,
       OrNothing(record.history.has_value(), record.history ? record.history->ToString() : "")},
      {kPaused, OrNothing(record.paused, "true")},
      {kApprovalPod, OrNothing(approved, approval.pod)},
      {kApprovalSystemIdentifier, OrNothing(approved, std::to_string(approval.system_identifier))},
      {kApprovalHistory, OrNothing(approved, approval.history)},
      {kDiscardPod, OrNothing(discards, discard.data.pod)},
      {kDiscardSystemIdentifier,
       OrNothing(discards, std::to_string(discard.data.system_identifier))},
      {kDiscardHistory, OrNothing(discards, discard.data.history)},
      {kDiscardTransactions, OrNothing(discards, std::to_string(discard.transactions))},
  };
}

void SetBranch(AuthorityRecord* record, uint64_t system_identifier,
               const TimelineHistory& history) {
  record->system_identifier = system_identifier;
  record->timeline = history.timeline();
  record->switch_lsn = history.entries().back().begin;
  record->history = history;
}

AuthorityStore::Versioned AuthorityStore::Read() {
  const std::optional<ConfigMap> found = api_->GetConfigMap(config_map_);
  if (!found) {
    throw Error(ErrorKind::kUnavailable,
                "the authority record, ConfigMap " + config_map_ + ", does not exist",
                "The chart creates it. Create it without data only if no pod of this release has "
                "data that matters.");
  }
  return {ParseAuthorityRecord(found->data), found->resource_version};
}

bool AuthorityStore::CompareAndSwap(const Versioned& expected, const AuthorityRecord& desired) {
  const UpdateOutcome outcome =
      api_->UpdateConfigMap(config_map_, expected.resource_version, AuthorityRecordToData(desired));
  if (outcome == UpdateOutcome::kDone) return true;
  return Read().record == desired;
}

}  // namespace pgrejoin
