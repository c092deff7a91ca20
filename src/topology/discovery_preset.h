// The conventions by which systems say who is primary, one row each (docs/reference/discovery.md
// has them as a table). A row is data: which object is the authority, which of its fields mean
// what, who starts the server. What the primitives do is in authority_word.cc and discovery.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "k8s/kube_object.h"

namespace pgrejoin {

enum class Primitive {
  // Authorities: they may name the primary.
  kRecord,       // our own authority record
  kObject,       // a field of an object names the holder; freshness as the row says
  kClusterData,  // stolon's, where the holder is found in two steps
  // No authorities: they name a server to follow once SQL confirms it, and nothing else.
  kService,
  kLabel,
  kSql,    // the members are asked, and one of them runs read-write
  kStatic  // a host that was configured
};

// Who decides, when a pod starts, whether its server runs read-write.
enum class StartedBy {
  kEntrypoint,  // the image: it starts what init has left
  kManager      // Patroni and the like: init must never keep it from running
};

// Whether a promoted replica is still a primary after a restart of its container.
enum class SurvivesRestart { kYes, kDependsOnImage };

enum class Proof { kRealSystem, kFixture };

// "{cluster}" in a template is --cluster. Fields are JSON pointers (k8s/kube_object.h), "" = none.
struct DiscoveryPreset {
  std::string_view name;
  Primitive primitive = Primitive::kRecord;

  ObjectKind object;             // the authority
  std::string_view object_name;  // template
  std::string_view holder;
  std::string_view target;   // who is to be primary: another than the holder = in transition
  std::string_view renewed;  // changes whenever the holder renews; none: its word does not expire
  std::string_view ttl;      // for so many seconds a renewal counts
  bool renewed_by_servers_clock = false;  // a UTC time, of the host that the holder's server is on
  std::string_view term;                  // changes with the holder

  std::string_view config_name;        // template of a second object of the same kind
  std::string_view system_identifier;  // in it: must be ours
  std::string_view paused;             // in it

  std::string_view pod_selector;  // template: the default of --pod-selector
  std::string_view role_label;    // to be shown, or with kLabel to go by

  StartedBy started_by = StartedBy::kEntrypoint;
  SurvivesRestart survives_restart = SurvivesRestart::kDependsOnImage;
  Proof proof = Proof::kFixture;
  std::string_view promote_with;  // what a person uses where `pg-rejoin promote` is not the way
};

std::span<const DiscoveryPreset> DiscoveryPresets();

// nullptr when there is no such preset.
const DiscoveryPreset* FindPreset(std::string_view name);

bool IsAuthority(const DiscoveryPreset& preset);

// Whether the row has a place for --cluster.
bool NeedsCluster(const DiscoveryPreset& preset);

std::string FillTemplate(std::string_view text, std::string_view cluster);

}  // namespace pgrejoin
