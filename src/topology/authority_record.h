// The authority record: who may be primary, in a ConfigMap that the chart creates without data and
// keeps. Changed by compare-and-swap only, by three writers: the claim at first install, `promote`
// (before pg_promote()), and a person's one-shot approval or pause. The sidecar of the holder
// completes it with what the server says (system identifier, timeline, history); a pod that follows
// another takes back the approval it did not use.
//
// Format: docs/reference/configuration.md, "The authority record". A malformed record is
// unreadable, never unclaimed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "k8s/api_client.h"
#include "pgdata/timeline_history.h"
#include "pgdata/types.h"

namespace pgrejoin {

// A person's word that this pod, with exactly this data, may start read-write. Used once.
struct Approval {
  std::string pod;
  uint64_t system_identifier = 0;
  std::string history;  // TimelineHistory::ToString()

  bool operator==(const Approval&) const = default;
};

// A person's word that a rewind of this pod may discard so many transactions although the limit is
// lower. Used once. It has keys of its own: nobody can take it for the word to lead.
struct DiscardApproval {
  Approval data;  // whose, and of which branch
  uint64_t transactions = 0;

  bool operator==(const DiscardApproval&) const = default;
};

struct AuthorityRecord {
  std::optional<uint64_t> system_identifier;  // absent until the first start
  uint64_t epoch = 0;                         // grows with every change of primary
  std::string primary;                        // pod name; "" = unclaimed
  TimelineId timeline = 0;                    // 0 until the first start
  Lsn switch_lsn;                             // where that timeline begins
  std::optional<TimelineHistory> history;     // of the primary when it took over
  bool paused = false;                        // a person asks for no automatic change of data
  std::optional<Approval> approval;
  std::optional<DiscardApproval> discard;

  bool operator==(const AuthorityRecord&) const = default;
};

// Throws Error(kUnavailable) that names the malformed key. Keys that are not ours are ignored.
AuthorityRecord ParseAuthorityRecord(const std::map<std::string, std::string>& data);

// Every key of ours: set, or removed where the record has no value.
KeyChanges AuthorityRecordToData(const AuthorityRecord& record);

// Fills in what the server that leads says about itself.
void SetBranch(AuthorityRecord* record, uint64_t system_identifier, const TimelineHistory& history);

class AuthorityStore {
 public:
  struct Versioned {
    AuthorityRecord record;
    std::string resource_version;
  };

  // api must remain live while this is in use.
  AuthorityStore(KubernetesApi* api, std::string config_map)
      : api_(api), config_map_(std::move(config_map)) {}

  // Throws Error(kUnavailable) when it cannot be read, does not exist or is malformed.
  Versioned Read();

  // True when the record now is `desired`: also when an earlier try of ours had been carried out
  // although its answer was lost. False: somebody else was faster.
  bool CompareAndSwap(const Versioned& expected, const AuthorityRecord& desired);

  const std::string& config_map() const { return config_map_; }

 private:
  KubernetesApi* api_;
  std::string config_map_;
};

}  // namespace pgrejoin
