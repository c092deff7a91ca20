#include "topology/discovery_preset.h"

#include <algorithm>

namespace pgrejoin {
namespace {

constexpr std::string_view kCluster = "{cluster}";

constexpr DiscoveryPreset Simple(std::string_view name, Primitive primitive, Proof proof,
                                 std::string_view promote_with) {
  DiscoveryPreset row;
  row.name = name;
  row.primitive = primitive;
  row.proof = proof;
  row.promote_with = promote_with;
  return row;
}

// The word is in an object.
constexpr DiscoveryPreset InObject(std::string_view name, const ObjectKind& kind,
                                   std::string_view object_name, std::string_view promote_with) {
  DiscoveryPreset row = Simple(name, Primitive::kObject, Proof::kFixture, promote_with);
  row.object = kind;
  row.object_name = object_name;
  return row;
}

// Servers are started by a manager, which makes them follow whoever is primary by then.
constexpr DiscoveryPreset Managed(DiscoveryPreset row) {
  row.started_by = StartedBy::kManager;
  row.survives_restart = SurvivesRestart::kYes;
  return row;
}

constexpr DiscoveryPreset Proven(DiscoveryPreset row) {
  row.proof = Proof::kRealSystem;
  return row;
}

constexpr DiscoveryPreset WithPods(DiscoveryPreset row, std::string_view selector,
                                   std::string_view label) {
  row.pod_selector = selector;
  row.role_label = label;
  return row;
}

// A Lease and what it says; a holder may append an id of its own to the pod's name.
constexpr DiscoveryPreset Lease() {
  DiscoveryPreset row = InObject("lease", kLeaseKind, kCluster, "whatever takes the Lease");
  row.holder = "/spec/holderIdentity";
  row.renewed = "/spec/renewTime";
  row.ttl = "/spec/leaseDurationSeconds";
  row.term = "/spec/leaseTransitions";
  return row;
}

// Patroni keeps its lock in annotations of an Endpoints or ConfigMap (patroni/dcs/kubernetes.py).
// The ttl is not enforced by anybody: members watch for changes.
constexpr DiscoveryPreset Patroni(std::string_view name, const ObjectKind& kind,
                                  std::string_view lock, std::string_view config) {
  DiscoveryPreset row =
      Managed(InObject(name, kind, lock, "`patronictl switchover` or `patronictl failover`"));
  row.holder = "/metadata/annotations/leader";
  row.renewed = "/metadata/annotations/renewTime";
  row.renewed_by_servers_clock = true;
  row.ttl = "/metadata/annotations/ttl";
  row.term = "/metadata/annotations/transitions";
  row.config_name = config;
  row.system_identifier = "/metadata/annotations/initialize";
  row.paused = "/metadata/annotations/config#/pause";
  return row;
}

constexpr DiscoveryPreset Cnpg() {
  DiscoveryPreset row = Managed(InObject("cnpg", {"postgresql.cnpg.io/v1", "clusters", "Cluster"},
                                         kCluster, "`kubectl cnpg promote`"));
  row.holder = "/status/currentPrimary";
  row.target = "/status/targetPrimary";
  row.term = "/status/currentPrimaryTimestamp";
  return WithPods(row, "cnpg.io/cluster={cluster},cnpg.io/podRole=instance",
                  "cnpg.io/instanceRole");
}

// Its sentinels write all of it, under an election of their own: what renews it is that election.
constexpr DiscoveryPreset Stolon() {
  DiscoveryPreset row = Managed(
      InObject("stolon", kConfigMapKind, "stolon-cluster-{cluster}", "`stolonctl failkeeper`"));
  row.primitive = Primitive::kClusterData;
  row.renewed = "/metadata/annotations/control-plane.alpha.kubernetes.io~1leader#/renewTime";
  row.ttl = "/metadata/annotations/control-plane.alpha.kubernetes.io~1leader#/leaseDurationSeconds";
  row.pod_selector = "component=stolon-keeper,stolon-cluster={cluster}";
  return row;
}

// The operator sets the label when it fails over, and never otherwise.
constexpr DiscoveryPreset Kubegres() {
  DiscoveryPreset row =
      WithPods(Simple("kubegres", Primitive::kLabel, Proof::kFixture, "the field promotePod"),
               "app={cluster}", "replicationRole");
  row.survives_restart = SurvivesRestart::kYes;
  return row;
}

// repmgr's own table is what each node says about itself, so the servers are asked instead.
constexpr DiscoveryPreset BitnamiHa() {
  DiscoveryPreset row =
      Simple("bitnami-ha", Primitive::kSql, Proof::kFixture, "`repmgr standby switchover`");
  row.pod_selector = "app.kubernetes.io/instance={cluster},app.kubernetes.io/component=postgresql";
  row.survives_restart = SurvivesRestart::kYes;
  return row;
}

constexpr std::string_view kCrunchyPods =
    "postgres-operator.crunchydata.com/cluster={cluster},"
    "postgres-operator.crunchydata.com/data=postgres";
constexpr std::string_view kCrunchyRole = "postgres-operator.crunchydata.com/role";

constexpr DiscoveryPreset kPresets[] = {
    Simple("record", Primitive::kRecord, Proof::kRealSystem, ""),
    Simple("service", Primitive::kService, Proof::kRealSystem, "whatever keeps the Service"),
    Simple("label", Primitive::kLabel, Proof::kRealSystem, "whatever keeps the label"),
    Lease(),
    Proven(WithPods(Patroni("patroni", kEndpointsKind, "{cluster}", "{cluster}-config"),
                    "cluster-name={cluster}", "role")),
    WithPods(Patroni("patroni-configmap", kConfigMapKind, "{cluster}-leader", "{cluster}-config"),
             "cluster-name={cluster}", "role"),
    WithPods(Patroni("spilo", kEndpointsKind, "{cluster}", "{cluster}-config"),
             "application=spilo,cluster-name={cluster}", "spilo-role"),
    Cnpg(),
    WithPods(Patroni("crunchy", kEndpointsKind, "{cluster}-ha", "{cluster}-ha-config"),
             kCrunchyPods, kCrunchyRole),
    WithPods(Patroni("percona", kEndpointsKind, "{cluster}-ha", "{cluster}-ha-config"),
             kCrunchyPods, kCrunchyRole),
    WithPods(Patroni("stackgres", kEndpointsKind, "{cluster}", "{cluster}-config"),
             "app=StackGresCluster,stackgres.io/cluster-name={cluster},stackgres.io/cluster=true",
             "role"),
    WithPods(Patroni("kubeblocks", kConfigMapKind, "{cluster}-postgresql-leader",
                     "{cluster}-postgresql-config"),
             "app.kubernetes.io/instance={cluster},apps.kubeblocks.io/component-name=postgresql",
             "kubeblocks.io/role"),
    Kubegres(),
    Stolon(),
    BitnamiHa(),
    Simple("static", Primitive::kStatic, Proof::kFixture, "whatever keeps the other cluster"),
};

}  // namespace

std::span<const DiscoveryPreset> DiscoveryPresets() { return kPresets; }

const DiscoveryPreset* FindPreset(std::string_view name) {
  const auto found =
      std::ranges::find_if(kPresets, [&](const DiscoveryPreset& row) { return row.name == name; });
  return found == std::end(kPresets) ? nullptr : found;
}

bool IsAuthority(const DiscoveryPreset& preset) {
  return preset.primitive == Primitive::kRecord || preset.primitive == Primitive::kObject ||
         preset.primitive == Primitive::kClusterData;
}

bool NeedsCluster(const DiscoveryPreset& preset) {
  return preset.object_name.find(kCluster) != std::string_view::npos ||
         preset.pod_selector.find(kCluster) != std::string_view::npos;
}

std::string FillTemplate(std::string_view text, std::string_view cluster) {
  std::string filled(text);
  for (size_t at = 0; (at = filled.find(kCluster, at)) != std::string::npos; at += cluster.size()) {
    filled.replace(at, kCluster.size(), cluster);
  }
  return filled;
}

}  // namespace pgrejoin
