// Answers of the API server. Input: status, which call, body. The transport is replaced by one that
// answers with the input.
#include "fuzz/fuzz.h"
#include "k8s/api_client.h"
#include "k8s/http_transport.h"

namespace pgrejoin {
namespace {
HttpResponse answer;
int requests = 0;
}  // namespace

HttpResponse Send(const HttpEndpoint&, const HttpRequest& request) {
  ++requests;
  fuzz::Require(!fuzz::HasControlCharacter(request.target), "a request is one line");
  return answer;
}

}  // namespace pgrejoin

namespace pgrejoin::fuzz {
namespace {

void CheckUrlPart(std::string_view text) {
  for (const char c : UrlEncode(text)) {
    Require(c == '%' || c == '-' || c == '.' || c == '_' || c == '~' || (c >= '0' && c <= '9') ||
                (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'),
            "a part of a URL has no character with a meaning");
  }
}

void Call(ApiClient& api, uint8_t which) {
  switch (which % 7) {
    case 0:
      api.GetPod("db-0");
      break;
    case 1:
      api.ListPods("app=db");
      break;
    case 2:
      api.GetConfigMap("db-authority");
      break;
    case 3:
      api.ListServiceEndpoints("db");
      break;
    case 4:
      api.PatchPodMetadata({"db-0", "uid", {{"role", "primary"}}, {}});
      break;
    case 5:
      if (const auto object = api.GetObject(kLeaseKind, "db")) {
        Accepts([&] { object->At("/spec/holderIdentity"); });
        Accepts([&] { object->At("/metadata/annotations/a~1b#/c/d"); });
      }
      break;
    default:
      api.UpdateConfigMap("db-authority", "17", {{"epoch", "2"}});
  }
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  constexpr int kStatus[] = {200, 200, 200, 404, 409, 422, 403, 503};
  Input input(data, size);
  answer.status = kStatus[input.Take<uint8_t>() % std::size(kStatus)];
  const uint8_t which = input.Take<uint8_t>();
  answer.body = input.Rest();
  ClusterConfig config;
  config.endpoint.base_url = "https://localhost";
  ApiClientOptions client;
  client.name_space = "default";
  client.attempts = 1;
  ApiClient api(config, client);
  requests = 0;
  Accepts([&] { Call(api, which); });
  CheckUrlPart(answer.body);
  Require(requests <= 20, "no answer makes the client ask for ever");
  return 0;
}
