// Every preset against objects as its system writes them (fixtures/), in every state that matters;
// and generated worlds: whatever authority, labels and servers say, nothing is undone towards a
// server that is no primary, and nothing starts read-write against the evidence.
#include "topology/discovery_preset.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "topology/decision.h"
#include "topology/discovery.h"
#include "unit/topology/fake_api.h"

namespace pgrejoin {
namespace {

using std::chrono::seconds;

constexpr uint64_t kSystem = 7000000000000000001;
constexpr uint64_t kOtherSystem = 7000000000000000002;
const std::string kRenewed = "11:22:33";

TimelineHistory History(const std::string& text) { return *TimelineHistory::FromString(text); }

// What differs between the fixtures: how the holder is called and where it is asked, and the edits
// that bring about a state.
struct Fixture {
  const char* preset;
  const char* holder;
  const char* holder_pod;
  const char* host;
  int ttl_s;
  std::pair<const char*, const char*> release;
  std::pair<const char*, const char*> spoil;
  std::pair<const char*, const char*> change;  // {} = it has no such state
};

const Fixture kFixtures[] = {
    {"lease",
     "db-1",
     "db-1",
     "10.0.0.1",
     30,
     {"db-1_5f0c2e9a-7a40-4a0e-9a54-2f3f6f5c9a11", ""},
     {"\"leaseDurationSeconds\":30", "\"leaseDurationSeconds\":-1"},
     {}},
    {"patroni",
     "db-1",
     "db-1",
     "10.0.0.1",
     30,
     {R"("leader":"db-1",)", ""},
     {R"("ttl":"30")", R"("ttl":"soon")"},
     {}},
    {"patroni-configmap",
     "db-1",
     "db-1",
     "10.0.0.1",
     30,
     {R"("leader":"db-1",)", ""},
     {R"("ttl":"30")", R"("ttl":"soon")"},
     {}},
    {"spilo",
     "db-1",
     "db-1",
     "10.0.0.1",
     30,
     {R"("leader":"db-1",)", ""},
     {R"("renewTime")", R"("renewed")"},
     {}},
    {"crunchy",
     "db-instance1-h4vq-0",
     "db-instance1-h4vq-0",
     "10.0.0.1",
     30,
     {R"("leader":"db-instance1-h4vq-0",)", ""},
     {R"("leader":"db)", R"("leader":"_)"},
     {}},
    {"percona",
     "db-instance1-p5zt-0",
     "db-instance1-p5zt-0",
     "10.0.0.1",
     30,
     {R"("leader":"db-instance1-p5zt-0",)", ""},
     {R"("ttl":"30")", R"("ttl":{})"},
     {}},
    {"stackgres",
     "db-1",
     "db-1",
     "10.0.0.1",
     30,
     {R"("leader":"db-1",)", ""},
     {R"("initialize":"7)", R"("initialize":"x7)"},
     {}},
    {"kubeblocks",
     "db-postgresql-1",
     "db-postgresql-1",
     "10.0.0.1",
     30,
     {R"("leader":"db-postgresql-1",)", ""},
     {R"("config":"{)", R"("config":"{{)"},
     {}},
    {"cnpg",
     "db-1",
     "db-1",
     "10.0.0.1",
     0,
     {R"(Primary":"db-1")", R"(Primary":"")"},
     {R"("currentPrimary":"db-1")", R"("currentPrimary":["db-1"])"},
     {R"("targetPrimary":"db-1")", R"("targetPrimary":"db-2")"}},
    {"stolon",
     "keeper1",
     "db-stolon-keeper-1",
     "10.244.0.12",
     15,
     {R"(\"master\":\"9b1e7c55\")", R"(\"master\":\"\")"},
     {R"("stolon-clusterdata":"{)", R"("stolon-clusterdata":"{{)"},
     {R"(\"phase\":\"normal\")", R"(\"phase\":\"initializing\")"}},
};

std::string ReplaceAll(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// "Kind name" -> JSON of each object in the fixture.
std::map<std::string, std::string> LoadFixture(const std::string& preset) {
  const auto folder = std::filesystem::path(__FILE__).parent_path() / "fixtures";
  std::ifstream file(folder / (preset + ".json"));
  std::map<std::string, std::string> objects;
  const nlohmann::json list = nlohmann::json::parse(file);
  for (const auto& item : list.at("items")) {
    objects[item.at("kind").get<std::string>() + " " +
            item.at("metadata").at("name").get<std::string>()] = item.dump();
  }
  return objects;
}

// A pod that looks at a cluster through Discovery, on a clock of its own.
class World {
 public:
  explicit World(const std::string& preset) {
    options.preset = FindPreset(preset);
    options.cluster = "db";
    options.own_pod = "db-9";
    options.name_space = "shop";
    options.pod_selector = "app=db";
    options.annotation_prefix = "pg-rejoin.io/";
    options.role_label = "operator/role";
    options.now = [this] { return now; };
    local.kind = DirectoryKind::kPrimary;
    local.system_identifier = kSystem;
    local.history = History("1@0/0");
    local.end_of_wal = {0x5000};
  }

  void Edit(const std::pair<const char*, const char*>& edit) {
    for (auto& [name, text] : api.objects) text = ReplaceAll(text, edit.first, edit.second);
  }
  void Renew() {
    const std::string was = renewed;
    renewed = "11:2" + std::to_string(++renewals % 10) + ":44";
    Edit({was.c_str(), renewed.c_str()});
  }
  void AddPod(const std::string& name, const std::string& ip) {
    api.AddPod(name);
    api.pods[name].ip = ip;
  }
  void AddServer(const std::string& host, bool in_recovery, const std::string& history,
                 uint64_t system = kSystem) {
    SourceIdentity identity;
    identity.system_identifier = system;
    identity.history = History(history);
    identity.in_recovery = in_recovery;
    identity.flush_lsn = {0x9000};
    servers[host] = identity;
  }
  Evidence Look() {
    if (!discovery) {
      discovery.emplace(&api, options, [this](const std::string& host) {
        const auto found = servers.find(host);
        if (found == servers.end()) throw Error(ErrorKind::kUnavailable, "connection refused");
        return found->second;
      });
    }
    return discovery->Gather(local);
  }

  FakeApi api;
  DiscoveryOptions options;
  DirectoryState local;
  std::map<std::string, SourceIdentity> servers;
  std::chrono::steady_clock::time_point now{seconds(5000)};
  std::string renewed = kRenewed;
  int renewals = 0;
  std::optional<Discovery> discovery;
};

class PresetTest : public testing::TestWithParam<Fixture> {
 protected:
  PresetTest() : world_(GetParam().preset) {
    world_.api.objects = LoadFixture(GetParam().preset);
    world_.AddPod(GetParam().holder_pod, "10.0.0.1");
    world_.AddPod("db-9", "10.0.0.9");
    world_.AddServer(GetParam().host, false, "1@0/0,2@0/4000");
  }
  bool Expires() const { return GetParam().ttl_s > 0; }
  bool Managed() const { return world_.options.preset->started_by == StartedBy::kManager; }
  // As after a renewal that was seen.
  Evidence LookUntilFresh() {
    world_.Look();
    world_.Renew();
    world_.now += seconds(2);
    return world_.Look();
  }
  Decision DecideNow() { return Decide(world_.local, world_.Look()); }

  World world_;
};

TEST_P(PresetTest, NamesAnotherAndCountsOnceItWasSeenToBeRenewed) {
  const Evidence first = world_.Look();
  EXPECT_EQ(first.authority, AuthorityState::kNamesOther) << first.authority_problem;
  EXPECT_EQ(first.primary, GetParam().holder);
  EXPECT_EQ(first.primary_host, GetParam().host);
  EXPECT_EQ(first.primary_state, Expires() ? PrimaryState::kUnproven : PrimaryState::kConfirmed);
  EXPECT_EQ(Decide(world_.local, first).action, Expires() ? Action::kWait : Action::kRewind);
  const Evidence then = LookUntilFresh();
  EXPECT_EQ(then.freshness, Expires() ? Freshness::kFresh : Freshness::kTimeless);
  EXPECT_EQ(then.primary_state, PrimaryState::kConfirmed);
  EXPECT_EQ(Decide(world_.local, then).action, Action::kRewind);
  EXPECT_NO_THROW(world_.discovery->ConfirmAgain(then, world_.local));
}

// Patroni runs beside its server: by that server's clock its lock is seen to be fresh at once.
// Stolon's sentinels, and who holds a Lease, may be anywhere.
TEST_P(PresetTest, TheServersClockCountsWhereItIsTheHolders) {
  constexpr int64_t kRenewedAt = 1772364153;  // 2026-03-01T11:22:33Z
  world_.servers[GetParam().host].clock_seconds = kRenewedAt + 5;
  const bool by_its_clock = world_.options.preset->renewed_by_servers_clock;
  EXPECT_EQ(by_its_clock, Managed() && Expires() && GetParam().preset != std::string("stolon"));
  const Evidence first = world_.Look();
  EXPECT_EQ(Decide(world_.local, first).action,
            by_its_clock || !Expires() ? Action::kRewind : Action::kWait);
  if (!by_its_clock) return;
  EXPECT_EQ(first.freshness, Freshness::kFresh);
  EXPECT_NO_THROW(world_.discovery->ConfirmAgain(first, world_.local));
  world_.servers[GetParam().host].clock_seconds = kRenewedAt + GetParam().ttl_s;
  EXPECT_EQ(DecideNow().action, Action::kWait);
  // What has lapsed meanwhile is not published by.
  EXPECT_THROW(world_.discovery->ConfirmAgain(first, world_.local), Error);
}

TEST_P(PresetTest, NamesUs) {
  world_.options.own_pod = GetParam().holder_pod;
  const Evidence first = world_.Look();
  EXPECT_EQ(first.authority,
            Expires() ? AuthorityState::kNamesUsUnproven : AuthorityState::kNamesUs);
  EXPECT_EQ(first.primary_state, PrimaryState::kNobody);
  // A manager is never kept from running where nobody else is named.
  EXPECT_EQ(Decide(world_.local, first).action, Managed() ? Action::kStart : Action::kWait);
  const Evidence then = LookUntilFresh();
  EXPECT_EQ(then.authority, AuthorityState::kNamesUs);
  EXPECT_EQ(Decide(world_.local, then).action, Action::kStart);
  world_.local.kind = DirectoryKind::kHalfRewound;
  EXPECT_NE(Decide(world_.local, then).action, Action::kStart);
}

TEST_P(PresetTest, AnEmptyDirectoryIsNeverInitialisedByUs) {
  world_.options.own_pod = GetParam().holder_pod;
  world_.local = {};
  const Evidence evidence = LookUntilFresh();
  EXPECT_EQ(Decide(world_.local, evidence).action, Managed() ? Action::kStart : Action::kWait);
}

TEST_P(PresetTest, Released) {
  world_.Edit(GetParam().release);
  const Evidence evidence = world_.Look();
  EXPECT_EQ(evidence.authority, AuthorityState::kReleased) << evidence.authority_problem;
  EXPECT_EQ(evidence.primary, "");
  EXPECT_EQ(DecideNow().action, Managed() ? Action::kStart : Action::kWait);
}

TEST_P(PresetTest, StaleDoesNotCount) {
  if (!Expires()) return;  // its word holds until somebody changes it
  world_.Look();
  world_.now += seconds(GetParam().ttl_s);
  const Evidence evidence = world_.Look();
  EXPECT_EQ(evidence.freshness, Freshness::kStale);
  EXPECT_EQ(evidence.primary_state, PrimaryState::kUnproven);
  const Decision decision = Decide(world_.local, evidence);
  EXPECT_EQ(decision.action, Managed() ? Action::kStart : Action::kWait);
  EXPECT_NE(decision.message.find("was not renewed for"), std::string::npos) << decision.message;
  world_.local.kind = DirectoryKind::kHalfRewound;
  EXPECT_EQ(Decide(world_.local, evidence).reason, "AuthorityStale");
}

TEST_P(PresetTest, InTransition) {
  if (GetParam().change.first == nullptr) return;  // one write changes its holder
  world_.Edit(GetParam().change);
  const Evidence evidence = LookUntilFresh();
  EXPECT_EQ(evidence.freshness, Freshness::kInTransition);
  EXPECT_EQ(evidence.primary_state, PrimaryState::kUnproven);
  EXPECT_EQ(Decide(world_.local, evidence).reason, "PrimaryChanging");
  world_.now += seconds(30);
  EXPECT_EQ(DecideNow().action, Action::kStart) << "a manager is not kept waiting for ever";
  world_.local.kind = DirectoryKind::kHalfRewound;
  EXPECT_EQ(DecideNow().action, Action::kWait);
}

TEST_P(PresetTest, UnreadableNamesNobody) {
  for (int state = 0; state < 3; ++state) {
    if (state == 0) world_.Edit(GetParam().spoil);
    if (state == 1) world_.api.objects.clear();
    if (state == 2) world_.api.down = true;
    const Evidence evidence = world_.Look();
    EXPECT_EQ(evidence.authority, AuthorityState::kUnreadable);
    EXPECT_FALSE(evidence.authority_problem.empty());
    EXPECT_EQ(evidence.primary_state, PrimaryState::kNobody);
    EXPECT_EQ(Decide(world_.local, evidence).action, Managed() ? Action::kStart : Action::kWait);
    DirectoryState half = world_.local;
    half.kind = DirectoryKind::kHalfRewound;
    EXPECT_EQ(Decide(half, evidence).action, Action::kWait);
  }
}

TEST_P(PresetTest, AnotherSystemIsRefused) {
  world_.local.system_identifier = kOtherSystem;
  const Evidence evidence = LookUntilFresh();
  EXPECT_EQ(Decide(world_.local, evidence).reason, "OtherSystem");
  // The server may be the wrong one, too.
  world_.local.system_identifier = kSystem;
  world_.servers.begin()->second.system_identifier = kOtherSystem;
  EXPECT_EQ(world_.Look().primary_state, PrimaryState::kOtherSystem);
  EXPECT_EQ(DecideNow().reason, "OtherSystem");
}

TEST_P(PresetTest, StandbysOnTheBranchDoNotWait) {
  world_.local.kind = DirectoryKind::kStandby;
  world_.local.end_of_wal = {0x3000};
  EXPECT_EQ(DecideNow().action, Managed() || Expires() ? Action::kStart : Action::kFollow);
  // One past the fork waits for as long as it takes to tell, since nobody rewinds it later.
  world_.local.end_of_wal = {0x5000};
  EXPECT_EQ(DecideNow().action, Expires() ? Action::kWait : Action::kRewind);
  world_.now += seconds(GetParam().ttl_s);
  EXPECT_EQ(DecideNow().action, Expires() ? Action::kStart : Action::kRewind);
}

TEST_P(PresetTest, AnotherHolderEndsTheRewind) {
  const Evidence before = LookUntilFresh();
  world_.now += seconds(600);
  if (Expires()) {
    EXPECT_THROW(world_.discovery->ConfirmAgain(before, world_.local), Error) << "not renewed";
    world_.Renew();
    EXPECT_NO_THROW(world_.discovery->ConfirmAgain(before, world_.local));
  }
  world_.Edit(GetParam().release);
  EXPECT_THROW(world_.discovery->ConfirmAgain(before, world_.local), Error);
}

void PrintTo(const Fixture& fixture, std::ostream* out) { *out << fixture.preset; }

INSTANTIATE_TEST_SUITE_P(Systems, PresetTest, testing::ValuesIn(kFixtures));

TEST(DiscoveryPresetTest, EveryAuthorityHasAFixture) {
  std::set<std::string_view> with_fixture;
  for (const Fixture& fixture : kFixtures) with_fixture.insert(fixture.preset);
  std::set<std::string_view> names;
  for (const DiscoveryPreset& preset : DiscoveryPresets()) {
    EXPECT_TRUE(names.insert(preset.name).second) << preset.name;
    const bool foreign = IsAuthority(preset) && preset.primitive != Primitive::kRecord;
    EXPECT_EQ(with_fixture.contains(preset.name), foreign) << preset.name;
    EXPECT_EQ(preset.promote_with.empty(), preset.name == "record");
    EXPECT_EQ(FindPreset(preset.name), &preset);
  }
  EXPECT_EQ(names.size(), 16u);
  EXPECT_EQ(FindPreset("etcd"), nullptr);
}

// By the end-to-end tests: the chart's, test_hints.py and test_patroni.py.
TEST(DiscoveryPresetTest, TheseAreProvenOnTheRealSystem) {
  std::set<std::string_view> proven;
  for (const DiscoveryPreset& preset : DiscoveryPresets()) {
    if (preset.proof == Proof::kRealSystem) proven.insert(preset.name);
  }
  EXPECT_EQ(proven, (std::set<std::string_view>{"label", "patroni", "record", "service"}));
}

TEST(DiscoveryPresetTest, TemplatesAreFilledEverywhere) {
  EXPECT_EQ(FillTemplate("a={cluster},b={cluster}-x", "{cluster}"), "a={cluster},b={cluster}-x");
  EXPECT_EQ(FillTemplate("a={cluster},b={cluster}-x", "db"), "a=db,b=db-x");
  EXPECT_TRUE(NeedsCluster(*FindPreset("kubegres")));
  EXPECT_FALSE(NeedsCluster(*FindPreset("record")));
}

TEST(DiscoveryPresetTest, KubegresLabelNamesAPrimaryToFollowAndNothingElse) {
  World world("kubegres");
  world.AddPod("db-1", "10.0.0.1");
  world.api.pods["db-1"].labels["operator/role"] = "primary";
  EXPECT_EQ(Decide(world.local, world.Look()).reason, "PrimaryUnreachable");
  world.AddServer("10.0.0.1", false, "1@0/0,2@0/4000");
  EXPECT_EQ(Decide(world.local, world.Look()).action, Action::kRewind);
  world.api.pods.clear();
  EXPECT_EQ(Decide(world.local, world.Look()).reason, "NoAuthority");
}

TEST(DiscoveryPresetTest, BitnamiHaAsksTheMembers) {
  World world("bitnami-ha");
  world.options.headless_service = "db-headless";
  world.options.members = {"db-0", "db-1", "db-9"};
  world.api.down = true;
  world.AddServer("db-1.db-headless.shop.svc", false, "1@0/0,2@0/4000");
  // The one that is silent may be the primary, and the one that answers a stale one.
  EXPECT_EQ(Decide(world.local, world.Look()).reason, "PrimaryUnreachable");
  world.AddServer("db-9.db-headless.shop.svc", true, "1@0/0");
  world.AddServer("db-0.db-headless.shop.svc", true, "1@0/0");
  EXPECT_EQ(world.Look().primary, "db-1");
  EXPECT_EQ(Decide(world.local, world.Look()).action, Action::kRewind);
  world.AddServer("db-0.db-headless.shop.svc", false, "1@0/0,3@0/4000");
  EXPECT_EQ(Decide(world.local, world.Look()).reason, "PrimaryAmbiguous");
}

TEST(DiscoveryPresetTest, StaticIsAHostThatHasToConfirm) {
  World world("static");
  world.options.primary_host = "other.example";
  EXPECT_EQ(Decide(world.local, world.Look()).reason, "PrimaryUnreachable");
  world.AddServer("other.example", true, "1@0/0,2@0/4000");
  EXPECT_EQ(Decide(world.local, world.Look()).reason, "PrimaryInRecovery");
  world.servers.begin()->second.in_recovery = false;
  EXPECT_EQ(Decide(world.local, world.Look()).action, Action::kRewind);
}

TEST(DiscoveryPresetTest, PatronisPauseIsRespected) {
  World world("patroni");
  world.api.objects = LoadFixture("patroni");
  world.AddPod("db-1", "10.0.0.1");
  world.AddServer("10.0.0.1", false, "1@0/0,2@0/4000");
  world.Edit({R"(\"pause\":false)", R"(\"pause\":true)"});
  world.Look();
  world.Renew();
  EXPECT_EQ(Decide(world.local, world.Look()).reason, "ManagerDecides");
}

// ---- generated worlds

// What is really so in a generated world, where the program only sees what is said of it.
struct Truth {
  std::string preset;
  std::string holder;  // whom the authority names
  bool renews = false;
  bool readable = true;
};

class WorldMaker {
 public:
  explicit WorldMaker(uint64_t seed) : random_(seed) {}

  bool Chance(unsigned percent) { return random_() % 100 < percent; }
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return *(values.begin() + random_() % values.size());
  }

  Truth Make(World* world) {
    Truth truth;
    truth.preset = world->options.preset->name;
    world->options.own_pod = "db-0";
    world->options.headless_service = "headless";
    world->options.record = "authority";
    world->options.members = {"db-0", "db-1", "db-2"};
    world->options.primary_host = "db-1.headless.shop.svc";
    MakeLocal(&world->local);
    for (const char* pod : {"db-0", "db-1", "db-2"}) {
      world->AddPod(pod, std::string("10.0.0.") + pod[3]);
      if (Chance(40)) world->api.pods[pod].labels["operator/role"] = "primary";
      if (Chance(40)) {
        world->api.endpoints.push_back({world->api.pods[pod].ip, pod, Chance(80)});
      }
      if (pod[3] != '0' && Chance(80)) MakeServer(world, pod);
    }
    truth.holder = OneOf({"db-0", "db-1", "db-1", "db-2", ""});
    truth.renews = Chance(60);
    truth.readable = !Chance(10);
    MakeAuthority(world, truth);
    world->api.down = Chance(5);
    return truth;
  }

 private:
  void MakeLocal(DirectoryState* local) {
    local->kind =
        OneOf({DirectoryKind::kEmpty, DirectoryKind::kHalfRewound, DirectoryKind::kStandby,
               DirectoryKind::kPrimary, DirectoryKind::kPrimary, DirectoryKind::kPrimary});
    if (local->kind == DirectoryKind::kEmpty) {
      *local = {};
      return;
    }
    local->system_identifier = Chance(90) ? kSystem : kOtherSystem;
    local->history = History(OneOf({"1@0/0", "1@0/0,2@0/3000"}));
    local->end_of_wal = {OneOf<uint64_t>({0x3500, 0x5000})};
  }
  void MakeServer(World* world, const std::string& pod) {
    const std::string history =
        OneOf({"1@0/0", "1@0/0,2@0/4000", "1@0/0,2@0/3000", "1@0/0,3@0/4800", "5@0/0"});
    const uint64_t system = Chance(85) ? kSystem : kOtherSystem;
    const bool in_recovery = Chance(50);
    for (const std::string& host :
         {pod + ".headless.shop.svc", world->api.pods[pod].ip, std::string("10.244.0.12")}) {
      if (host == "10.244.0.12" && pod != "db-1") continue;
      world->AddServer(host, in_recovery, history, system);
    }
  }
  // By a clock that is up to an hour off.
  void MakeAuthority(World* world, const Truth& truth) {
    world->api.AddRecord({});
    if (truth.preset == "record") {
      if (!truth.holder.empty()) {
        world->api.AddRecord({{"primary", truth.holder}, {"epoch", truth.readable ? "1" : "x"}});
      }
      return;
    }
    for (const Fixture& fixture : kFixtures) {
      if (fixture.preset != truth.preset) continue;
      world->api.objects = LoadFixture(truth.preset);
      if (truth.holder.empty()) world->Edit(fixture.release);
      if (!truth.readable) world->Edit(fixture.spoil);
      const std::string ordinal = truth.holder.substr(std::min<size_t>(truth.holder.size(), 3));
      const bool keeper = truth.preset == "stolon";
      const std::string name = keeper ? "keeperUID\\\":\\\"keeper" + ordinal : truth.holder;
      const std::string was = keeper ? "keeperUID\\\":\\\"keeper1" : fixture.holder;
      if (!truth.holder.empty()) world->Edit({was.c_str(), name.c_str()});
      if (keeper && truth.holder == "db-2") world->Edit({"10.244.0.12", "10.0.0.2"});
      world->renewed = OneOf({"10:22:33", "11:22:33", "12:22:33"});
      world->Edit({kRenewed.c_str(), world->renewed.c_str()});
      if (fixture.change.first != nullptr && Chance(15)) world->Edit(fixture.change);
    }
  }

  std::mt19937_64 random_;
};

bool UndoesData(Action action) {
  return action == Action::kRewind || action == Action::kResume || action == Action::kFollow ||
         action == Action::kClone;
}

// A confirmed primary, in truth.
void CheckSource(const World& world, const Truth& truth, const Evidence& evidence) {
  const auto server = world.servers.find(evidence.primary_host);
  ASSERT_NE(server, world.servers.end());
  ASSERT_FALSE(server->second.in_recovery);
  if (world.local.kind != DirectoryKind::kEmpty) {
    ASSERT_EQ(server->second.system_identifier, world.local.system_identifier);
  }
  ASSERT_FALSE(world.api.down && IsAuthority(*world.options.preset));
  if (!IsAuthority(*world.options.preset)) return;
  ASSERT_TRUE(truth.readable);
  ASSERT_NE(truth.holder, "db-0");
  ASSERT_NE(truth.holder, "");
  const bool expires = !world.options.preset->renewed.empty();
  ASSERT_TRUE(truth.renews || !expires);
}

// Where no manager decides, a primary's directory starts only if it is named, and that counts.
void CheckStart(const World& world, const Truth& truth, const Evidence& evidence) {
  const DiscoveryPreset& preset = *world.options.preset;
  ASSERT_NE(world.local.kind, DirectoryKind::kHalfRewound);
  if (world.local.kind != DirectoryKind::kEmpty && evidence.system_identifier) {
    ASSERT_EQ(world.local.system_identifier, *evidence.system_identifier);
  }
  if (preset.started_by == StartedBy::kManager || world.local.kind == DirectoryKind::kStandby) {
    return;
  }
  ASSERT_TRUE(IsAuthority(preset));
  if (preset.primitive == Primitive::kRecord) return;  // decision_test.cc has those
  ASSERT_NE(world.local.kind, DirectoryKind::kEmpty);
  for (const PeerState& peer : evidence.peers) {
    if (!peer.identity || peer.identity->system_identifier != world.local.system_identifier)
      continue;
    ASSERT_TRUE(peer.identity->in_recovery) << peer.pod;
    ASSERT_TRUE(world.local.history.ContainsBranch(peer.identity->history)) << peer.pod;
  }
  ASSERT_EQ(truth.holder, "db-0");
  ASSERT_TRUE(truth.readable && truth.renews && !world.api.down);
}

// Looks until it need not wait any more.
Decision LookAsInitDoes(World* world, const Truth& truth, Evidence* evidence) {
  Decision decision;
  for (int round = 0; round < 25; ++round) {
    *evidence = world->Look();
    decision = Decide(world->local, *evidence);
    if (decision.action != Action::kWait) break;
    world->now += seconds(2);
    if (truth.renews && round % 5 == 4) world->Renew();
  }
  return decision;
}

TEST(GeneratedWorlds, NothingIsUndoneTowardsANonPrimaryNorStartedAgainstTheEvidence) {
  const char* given = std::getenv("PG_REJOIN_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device()();
  SCOPED_TRACE("replay with PG_REJOIN_TEST_SEED=" + std::to_string(seed));
  WorldMaker maker(seed);
  std::map<std::string, int> count;
  for (int i = 0; i < 100; ++i) {
    for (const DiscoveryPreset& preset : DiscoveryPresets()) {
      World world{std::string(preset.name)};
      const Truth truth = maker.Make(&world);
      Evidence evidence;
      const Decision decision = LookAsInitDoes(&world, truth, &evidence);
      SCOPED_TRACE(truth.preset + ": holder " + truth.holder + ", directory " +
                   DirectoryKindName(world.local.kind) + " -> " + ActionName(decision.action) +
                   " " + decision.reason + ": " + decision.message);
      ++count[UndoesData(decision.action) ? "undone" : ActionName(decision.action)];
      if (UndoesData(decision.action)) CheckSource(world, truth, evidence);
      if (decision.action == Action::kStart) CheckStart(world, truth, evidence);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  // All of it has come up.
  for (const char* what : {"undone", "start", "wait", "refuse"}) EXPECT_GT(count[what], 40) << what;
}

}  // namespace
}  // namespace pgrejoin
