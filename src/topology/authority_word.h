// What an authority that somebody else keeps says about who is primary, read as its row of
// discovery_preset.h describes it, and whether its word still counts.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "k8s/api_client.h"
#include "topology/discovery_preset.h"

namespace pgrejoin {

struct AuthorityWord {
  std::string object;           // "Endpoints db"
  std::string holder;           // pod name, as far as it has one; "" = released
  bool is_keeper = false;       // the holder is not a pod's name, but stolon's "keeper<ordinal>"
  std::string address;          // where the holder listens; "" = it does not say
  std::string target;           // who is to be primary, while that is another pod
  std::string renewed;          // changes whenever the holder renews
  std::chrono::seconds ttl{0};  // 0 = its word does not expire
  std::string term;             // changes with the holder
  std::optional<uint64_t> system_identifier;
  bool paused = false;

  // That the holder is this pod.
  bool Names(const std::string& pod) const;
};

// Throws Error(kUnavailable) when an object cannot be read, is missing or is malformed.
AuthorityWord ReadAuthorityWord(KubernetesApi* api, const DiscoveryPreset& preset,
                                const std::string& cluster);

// Whether an authority's word counts now.
enum class Freshness {
  kTimeless,     // it holds until somebody changes it
  kUnproven,     // not watched for long enough to tell
  kFresh,        // seen to be renewed
  kStale,        // not renewed for its time to live
  kInTransition  // another is to be primary
};

const char* FreshnessName(Freshness freshness);

// Whether the word was renewed less than its time to live ago, when the clock by which its holder
// renews it (DiscoveryPreset::renewed_by_servers_clock) shows this. What is no time was not.
bool RenewedLately(const AuthorityWord& word, int64_t clock_seconds);

// Tells a holder that lives from one that died. renewTime is by the holder's clock, so it is never
// compared with ours (RenewedLately compares it with its own): it has to change while we look, and
// the time between looks is taken from a clock that only runs forward.
//
//   first look ──── unproven ──── change seen ──── fresh, for a ttl from the look before
//                       └──────── no change for a ttl ──── stale
class RenewalWatch {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Freshness Look(const AuthorityWord& word, TimePoint now);

 private:
  std::string seen_;
  std::optional<TimePoint> last_look_;
  TimePoint same_since_;                    // the first look at what was seen last
  std::optional<TimePoint> renewed_after_;  // the last renewal was later than this
};

}  // namespace pgrejoin
