#include "k8s/api_client.h"

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/backoff.h"
#include "base/error.h"
#include "base/log.h"
#include "base/utc_time.h"
#include "k8s/json_access.h"

namespace pgrejoin {
namespace {

using nlohmann::json;

constexpr const char* kMergePatch = "application/merge-patch+json";
constexpr const char* kCoreApi = "/api/v1";
constexpr const char* kDiscoveryApi = "/apis/discovery.k8s.io/v1";
constexpr const char* kEventsApi = "/apis/events.k8s.io/v1";
constexpr const char* kAccessReviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
constexpr const char* kReportingController = "pg-rejoin.io/pg-rejoin";
constexpr size_t kListPage = 500;
constexpr int kListPagesMax = 20;
constexpr size_t kEventNoteBytesMax = 1000;

// The message of a Status object; the server's words are quoted, never obeyed.
std::string StatusMessage(const std::string& body) {
  const json status = json::parse(body, nullptr, false);
  if (status.is_object()) {
    const auto message = status.find("message");
    if (message != status.end() && message->is_string()) {
      return Printable(message->get<std::string>());
    }
  }
  return Printable(body.substr(0, 200));
}

[[noreturn]] void Refused(const HttpRequest& request, const HttpResponse& response) {
  const std::string what =
      fmt::format("Kubernetes API answers {} to {} {}: {}", response.status, request.method,
                  request.target.substr(0, request.target.find('?')), StatusMessage(response.body));
  std::string hint;
  if (response.status == 403) hint = "The service account's Role lacks this permission.";
  if (response.status == 401) hint = "The service account's token is missing or has expired.";
  throw Error(ErrorKind::kUnavailable, what, hint);
}

void CheckSuccess(const HttpRequest& request, const HttpResponse& response) {
  if (response.status < 200 || response.status > 299) Refused(request, response);
}

Pod ParsePod(const json& object) {
  Pod pod;
  pod.name = StringAt(object, "metadata/name");
  pod.uid = StringAt(object, "metadata/uid");
  pod.labels = StringMapAt(object, "metadata/labels");
  pod.annotations = StringMapAt(object, "metadata/annotations");
  pod.being_deleted = FindMember(object, "metadata/deletionTimestamp") != nullptr;
  pod.phase = StringAt(object, "status/phase");
  pod.ip = StringAt(object, "status/podIP");
  return pod;
}

json ChangesToJson(const KeyChanges& changes) {
  json object = json::object();
  for (const auto& [key, value] : changes) object[key] = value ? json(*value) : json();
  return object;
}

std::string ValueOf(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? std::string() : found->second;
}

}  // namespace

std::string Pod::Label(const std::string& key) const { return ValueOf(labels, key); }
std::string Pod::Annotation(const std::string& key) const { return ValueOf(annotations, key); }

std::string UrlEncode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

ApiClient::ApiClient(ClusterConfig config, ApiClientOptions options)
    : config_(std::move(config)), options_(std::move(options)) {}

std::string ApiClient::NamespacePath(const std::string& api, const std::string& rest) const {
  return api + "/namespaces/" + UrlEncode(options_.name_space) + "/" + rest;
}

HttpResponse ApiClient::SendOnce(HttpRequest request) const {
  return SendFor(options_.timeout, std::move(request));
}

HttpResponse ApiClient::SendFor(std::chrono::milliseconds timeout, HttpRequest request) const {
  HttpEndpoint endpoint = config_.endpoint;
  std::string token = config_.token;
  try {
    if (!config_.ca_file.empty()) {
      endpoint.ca_pem = ReadSmallFile(config_.ca_file, "the cluster's certificate authority");
    }
    if (!config_.token_file.empty()) {
      token = ReadSmallFile(config_.token_file, "the service account's token");
    }
  } catch (const Error& error) {
    throw Error(ErrorKind::kUnavailable, error.message());
  }
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  if (!token.empty()) request.headers.emplace_back("Authorization", "Bearer " + token);
  request.headers.emplace_back("Accept", "application/json");
  request.headers.emplace_back("User-Agent", "pg-rejoin/" PG_REJOIN_VERSION);
  request.timeout = timeout;
  request.stop = options_.stop;
  try {
    HttpResponse response = Send(endpoint, request);
    options_.on_request(response.status);
    return response;
  } catch (const Error&) {
    options_.on_request(0);
    throw;
  }
}

HttpResponse ApiClient::SendRepeatable(const HttpRequest& request) const {
  Backoff backoff(std::chrono::milliseconds(200), std::chrono::milliseconds(1000));
  for (int attempt = 1;; ++attempt) {
    try {
      HttpResponse response = SendOnce(request);
      const bool busy = response.status == 429 || response.status >= 500;
      if (!busy || attempt >= options_.attempts) return response;
      LogDebug("API server is busy ({}), trying again", response.status);
    } catch (const Error& error) {
      if (attempt >= options_.attempts || options_.stop.stop_requested()) throw;
      LogDebug("{}; trying again", error.message());
    }
    if (!SleepFor(backoff.Next(), options_.stop)) {
      throw Error(ErrorKind::kUnavailable, "interrupted");
    }
  }
}

std::optional<std::string> ApiClient::GetBody(const std::string& target) const {
  HttpRequest request;
  request.target = target;
  HttpResponse response = SendRepeatable(request);
  if (response.status == 404) return std::nullopt;
  CheckSuccess(request, response);
  return std::move(response.body);
}

// An empty list is no 404, so a 404 is an error.
std::string ApiClient::GetList(const std::string& target) const {
  HttpRequest request;
  request.target = target;
  HttpResponse response = SendRepeatable(request);
  CheckSuccess(request, response);
  return std::move(response.body);
}

std::optional<Pod> ApiClient::GetPod(const std::string& name) {
  const auto body = GetBody(NamespacePath(kCoreApi, "pods/" + UrlEncode(name)));
  if (!body) return std::nullopt;
  return ParsePod(ParseJson(*body, "pod " + name));
}

std::vector<Pod> ApiClient::ListPods(const std::string& label_selector) {
  std::vector<Pod> pods;
  std::string next;
  for (int page = 0; page < kListPagesMax; ++page) {
    const std::string query = fmt::format("pods?limit={}&labelSelector={}&continue={}", kListPage,
                                          UrlEncode(label_selector), UrlEncode(next));
    const json list = ParseJson(GetList(NamespacePath(kCoreApi, query)), "list of pods");
    for (const json& item : ArrayAt(list, "items")) pods.push_back(ParsePod(item));
    next = StringAt(list, "metadata/continue");
    if (next.empty()) return pods;
  }
  throw Error(ErrorKind::kUnavailable, "too many pods match " + label_selector);
}

PatchOutcome ApiClient::PatchPodMetadata(const PodMetadataPatch& patch) {
  json metadata = {{"uid", patch.uid}};
  if (!patch.labels.empty()) metadata["labels"] = ChangesToJson(patch.labels);
  if (!patch.annotations.empty()) metadata["annotations"] = ChangesToJson(patch.annotations);
  HttpRequest request;
  request.method = "PATCH";
  request.target = NamespacePath(kCoreApi, "pods/" + UrlEncode(patch.pod_name));
  request.content_type = kMergePatch;
  request.body = DumpJson({{"metadata", metadata}});
  HttpResponse response = SendOnce(request);
  if (response.status == 409) {
    // Somebody else wrote at the same moment, or the pod of this name is another one by now.
    const std::optional<Pod> pod = GetPod(patch.pod_name);
    if (!pod || pod->uid != patch.uid) return PatchOutcome::kNoSuchPod;
    response = SendOnce(request);
  }
  if (response.status == 404) return PatchOutcome::kNoSuchPod;
  if (response.status == 422 || response.status == 409) {
    const std::optional<Pod> pod = GetPod(patch.pod_name);
    if (!pod || pod->uid != patch.uid) return PatchOutcome::kNoSuchPod;
  }
  CheckSuccess(request, response);
  return PatchOutcome::kDone;
}

PatchOutcome ApiClient::DeletePod(const std::string& name, const std::string& uid) {
  HttpRequest request;
  request.method = "DELETE";
  request.target = NamespacePath(kCoreApi, "pods/" + UrlEncode(name));
  request.content_type = "application/json";
  request.body = DumpJson(
      {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}, {"preconditions", {{"uid", uid}}}});
  const HttpResponse response = SendOnce(request);
  // 409: the precondition does not hold.
  if (response.status == 404 || response.status == 409) return PatchOutcome::kNoSuchPod;
  CheckSuccess(request, response);
  return PatchOutcome::kDone;
}

std::optional<ConfigMap> ApiClient::GetConfigMap(const std::string& name) {
  const auto body = GetBody(NamespacePath(kCoreApi, "configmaps/" + UrlEncode(name)));
  if (!body) return std::nullopt;
  const json object = ParseJson(*body, "ConfigMap " + name);
  return ConfigMap{StringAt(object, "metadata/name"), StringAt(object, "metadata/resourceVersion"),
                   StringMapAt(object, "data")};
}

// A watch that begins with the object as it is: beginning with a version that the server has
// forgotten, which it does within minutes, would fail at once. A server that lags behind may begin
// with an older one: so this tells of news too often, never too seldom.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-watch
bool ApiClient::AwaitConfigMapChange(const std::string& name, const std::string& resource_version,
                                     std::chrono::seconds wait) {
  bool changed = false;
  HttpRequest request;
  request.target = NamespacePath(
      kCoreApi, fmt::format("configmaps?watch=true&fieldSelector={}&timeoutSeconds={}",
                            UrlEncode("metadata.name=" + name), wait.count()));
  request.on_line = [&](const std::string& line) {
    const json event = ParseJson(line, "event of a watch");
    const std::string type = StringAt(event, "type");
    if (type == "ERROR") {
      throw Error(ErrorKind::kUnavailable, "watch of ConfigMap " + name + ": " +
                                               Printable(StringAt(event, "object/message")));
    }
    changed =
        type != "ADDED" || StringAt(event, "object/metadata/resourceVersion") != resource_version;
    return !changed;
  };
  // The server ends the watch in time; a connection that has silently gone is ours to end.
  const HttpResponse response = SendFor(wait + options_.timeout, request);
  CheckSuccess(request, response);
  return changed;
}

std::optional<KubeObject> ApiClient::GetObject(const ObjectKind& kind, const std::string& name) {
  const bool core = kind.api_version.find('/') == std::string_view::npos;
  const std::string api = (core ? "/api/" : "/apis/") + std::string(kind.api_version);
  const auto body = GetBody(NamespacePath(api, std::string(kind.plural) + "/" + UrlEncode(name)));
  if (!body) return std::nullopt;
  return KubeObject(*body, std::string(kind.name) + " " + name);
}

UpdateOutcome ApiClient::UpdateConfigMap(const std::string& name,
                                         const std::string& resource_version,
                                         const KeyChanges& data) {
  if (resource_version.empty()) {
    throw Error(ErrorKind::kInternal, "compare-and-swap without a resource version");
  }
  HttpRequest request;
  request.method = "PATCH";
  request.target = NamespacePath(kCoreApi, "configmaps/" + UrlEncode(name));
  request.content_type = kMergePatch;
  request.body = DumpJson(
      {{"metadata", {{"resourceVersion", resource_version}}}, {"data", ChangesToJson(data)}});
  const HttpResponse response = SendRepeatable(request);
  if (response.status == 409) return UpdateOutcome::kConflict;
  CheckSuccess(request, response);
  return UpdateOutcome::kDone;
}

std::vector<ServiceEndpoint> ApiClient::ListServiceEndpoints(const std::string& service) {
  const std::string query =
      "endpointslices?labelSelector=" + UrlEncode("kubernetes.io/service-name=" + service);
  const json list =
      ParseJson(GetList(NamespacePath(kDiscoveryApi, query)), "list of EndpointSlices");
  std::vector<ServiceEndpoint> endpoints;
  for (const json& slice : ArrayAt(list, "items")) {
    for (const json& endpoint : ArrayAt(slice, "endpoints")) {
      const std::string pod =
          StringAt(endpoint, "targetRef/kind") == "Pod" ? StringAt(endpoint, "targetRef/name") : "";
      // Absent means unknown, which the API asks to be read as ready.
      const bool ready = BoolAt(endpoint, "conditions/ready", true);
      for (const json& address : ArrayAt(endpoint, "addresses")) {
        if (address.is_string()) endpoints.push_back({address.get<std::string>(), pod, ready});
      }
    }
  }
  return endpoints;
}

void ApiClient::CreateEvent(const NewEvent& event) {
  const std::string now = FormatUtc(UnixMicrosecondsNow(), 6);
  std::random_device random;
  const json object = {
      {"apiVersion", "events.k8s.io/v1"},
      {"kind", "Event"},
      {"metadata",
       {{"name", fmt::format("{}.{:08x}{:08x}", event.pod_name, random(), random())},
        {"namespace", options_.name_space}}},
      {"eventTime", now},
      {"reportingController", kReportingController},
      {"reportingInstance", event.pod_name.substr(0, 128)},
      {"action", event.action},
      {"reason", event.reason},
      {"type", event.warning ? "Warning" : "Normal"},
      {"note", event.note.substr(0, kEventNoteBytesMax)},
      {"regarding",
       {{"apiVersion", "v1"},
        {"kind", "Pod"},
        {"namespace", options_.name_space},
        {"name", event.pod_name},
        {"uid", event.pod_uid}}}};
  HttpRequest request;
  request.method = "POST";
  request.target = NamespacePath(kEventsApi, "events");
  request.content_type = "application/json";
  request.body = DumpJson(object);
  CheckSuccess(request, SendOnce(request));
}

bool ApiClient::IsAllowed(const Access& access) {
  HttpRequest request;
  request.method = "POST";
  request.target = kAccessReviews;
  request.content_type = "application/json";
  request.body = DumpJson({{"apiVersion", "authorization.k8s.io/v1"},
                           {"kind", "SelfSubjectAccessReview"},
                           {"spec",
                            {{"resourceAttributes",
                              {{"namespace", options_.name_space},
                               {"group", access.group},
                               {"resource", access.resource},
                               {"name", access.name},
                               {"verb", access.verb}}}}}});
  const HttpResponse response = SendRepeatable(request);
  CheckSuccess(request, response);
  return BoolAt(ParseJson(response.body, "access review"), "status/allowed", false);
}

}  // namespace pgrejoin
