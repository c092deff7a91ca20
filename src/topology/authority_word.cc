#include "topology/authority_word.h"

#include "base/error.h"
#include "base/parse_number.h"
#include "base/utc_time.h"

namespace pgrejoin {
namespace {

// Longer than anybody waits, so that a number from outside cannot make a watch endless.
constexpr uint64_t kTtlSecondsMax = 3600;
constexpr std::string_view kStolonData = "/metadata/annotations/stolon-clusterdata#";

std::string TextAt(const KubeObject& object, std::string_view pointer) {
  return pointer.empty() ? std::string() : object.At(pointer).value_or("");
}

uint64_t ToNumber(const KubeObject& object, std::string_view what, const std::string& text) {
  const auto number = ParseNumber<uint64_t>(text);
  if (!number) {
    throw Error(ErrorKind::kUnavailable, object.what() + ": " + std::string(what) + " is \"" +
                                             Printable(text) + "\", expected a number");
  }
  return *number;
}

KubeObject GetOrThrow(KubernetesApi* api, const ObjectKind& kind, const std::string& name) {
  std::optional<KubeObject> object = api->GetObject(kind, name);
  if (!object) {
    throw Error(ErrorKind::kUnavailable, "there is no " + std::string(kind.name) + " " + name,
                "Either nobody has ever led, or the name is wrong: see --discovery and --cluster.");
  }
  return std::move(*object);
}

// A pod's name: of a Lease's "pod_id" or "pod/uid" the part that can be one.
std::string PodPart(const std::string& identity) {
  return identity.substr(0, identity.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-"));
}

void ReadTtl(const KubeObject& object, const DiscoveryPreset& preset, AuthorityWord* word) {
  word->renewed = TextAt(object, preset.renewed);
  const uint64_t ttl = ToNumber(object, "its time to live", TextAt(object, preset.ttl));
  if (word->renewed.empty() || ttl == 0 || ttl > kTtlSecondsMax) {
    throw Error(ErrorKind::kUnavailable,
                object.what() + " does not say when it was renewed, and for how long that counts");
  }
  word->ttl = std::chrono::seconds(ttl);
}

void ReadHolder(const KubeObject& object, const DiscoveryPreset& preset, AuthorityWord* word) {
  const std::string identity = TextAt(object, preset.holder);
  word->holder = PodPart(identity);
  if (word->holder.empty() && !identity.empty()) {
    throw Error(ErrorKind::kUnavailable, object.what() + " names \"" + Printable(identity) +
                                             "\", which does not begin with a pod's name");
  }
  word->term = TextAt(object, preset.term);
  const std::string target = TextAt(object, preset.target);
  if (target != word->holder) word->target = Printable(target);
  if (!preset.renewed.empty() && !word->holder.empty()) ReadTtl(object, preset, word);
}

// cluster.status.master is the uid of a database, whose entry says which keeper has it and where
// that keeper listens.
void ReadClusterData(const KubeObject& object, const DiscoveryPreset& preset, AuthorityWord* word) {
  const auto at = [&](const std::string& pointer) {
    return TextAt(object, std::string(kStolonData) + pointer);
  };
  const std::string master = at("/cluster/status/master");
  if (master.empty()) return;
  word->is_keeper = true;
  const std::string database = "/dbs/" + PointerToken(master);
  word->holder = PodPart(at(database + "/spec/keeperUID"));
  word->address = at(database + "/status/listenAddress");
  word->term = Printable(master);
  if (word->holder.empty()) {
    throw Error(ErrorKind::kUnavailable, object.what() + " names no keeper for its master");
  }
  const std::string identifier = at(database + "/status/systemdID");
  if (!identifier.empty()) {
    word->system_identifier = ToNumber(object, "the system identifier", identifier);
  }
  if (at("/cluster/status/phase") != "normal") word->target = "a master to be chosen";
  ReadTtl(object, preset, word);
}

// The object does not exist before the first start.
void ReadConfig(KubernetesApi* api, const DiscoveryPreset& preset, const std::string& cluster,
                AuthorityWord* word) {
  const auto object = api->GetObject(preset.object, FillTemplate(preset.config_name, cluster));
  if (!object) return;
  const std::string identifier = TextAt(*object, preset.system_identifier);
  if (!identifier.empty()) {
    word->system_identifier = ToNumber(*object, "the system identifier", identifier);
  }
  word->paused = TextAt(*object, preset.paused) == "true";
}

}  // namespace

bool AuthorityWord::Names(const std::string& pod) const {
  if (holder.empty()) return false;
  return holder == (is_keeper ? "keeper" + pod.substr(pod.rfind('-') + 1) : pod);
}

AuthorityWord ReadAuthorityWord(KubernetesApi* api, const DiscoveryPreset& preset,
                                const std::string& cluster) {
  const KubeObject object =
      GetOrThrow(api, preset.object, FillTemplate(preset.object_name, cluster));
  AuthorityWord word;
  word.object = object.what();
  if (preset.primitive == Primitive::kClusterData) {
    ReadClusterData(object, preset, &word);
  } else {
    ReadHolder(object, preset, &word);
  }
  if (!preset.config_name.empty()) ReadConfig(api, preset, cluster, &word);
  return word;
}

bool RenewedLately(const AuthorityWord& word, int64_t clock_seconds) {
  // "2026-11-22T11:16:14.360029+00:00"
  constexpr size_t kSeconds = std::string_view("2026-11-22T11:16:14").size();
  if (!word.renewed.ends_with("+00:00")) return false;
  const auto renewed = ParseUtc(word.renewed.substr(0, kSeconds) + "Z");
  if (!renewed) return false;
  const auto age = std::chrono::seconds(clock_seconds) -
                   std::chrono::floor<std::chrono::seconds>(std::chrono::microseconds(*renewed));
  return age.count() >= 0 && age < word.ttl;
}

Freshness RenewalWatch::Look(const AuthorityWord& word, TimePoint now) {
  const std::string seen = word.holder + " " + word.renewed;
  if (seen != seen_) {
    renewed_after_ = last_look_;
    same_since_ = now;
    seen_ = seen;
  }
  last_look_ = now;
  if (!word.target.empty()) return Freshness::kInTransition;
  if (word.ttl.count() == 0) return Freshness::kTimeless;
  if (renewed_after_ && now - *renewed_after_ <= word.ttl) return Freshness::kFresh;
  return now - same_since_ >= word.ttl ? Freshness::kStale : Freshness::kUnproven;
}

const char* FreshnessName(Freshness freshness) {
  switch (freshness) {
    case Freshness::kTimeless:
      return "timeless";
    case Freshness::kUnproven:
      return "unproven";
    case Freshness::kFresh:
      return "fresh";
    case Freshness::kStale:
      return "stale";
    case Freshness::kInTransition:
      return "in-transition";
  }
  return "?";
}

}  // namespace pgrejoin
