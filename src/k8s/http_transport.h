// One HTTPS request to the API server. The .cc is the only file that includes cpprestsdk, which is
// archived upstream (docs/decisions/0001-cpprestsdk.md); replacing it means replacing that file.
//
// Thread-safe: each request has its own client and connection. Blocks the calling thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace pgrejoin {

// Where to connect and whom to trust. PEM texts, not paths.
struct HttpEndpoint {
  std::string base_url;         // "https://10.96.0.1:443"
  std::string ca_pem;           // non-empty: only these authorities are trusted, not the system's
  std::string certificate_pem;  // client certificate and key: both or none
  std::string key_pem;
};

struct HttpRequest {
  std::string method = "GET";
  std::string target;  // path and query, already percent-encoded
  std::vector<std::pair<std::string, std::string>> headers;
  std::string content_type;  // of the body
  std::string body;
  std::chrono::milliseconds timeout{5000};  // of silence, and of the whole request
  size_t response_bytes_max = size_t{16} << 20;
  // For an answer that goes on, as a watch does: called with each line of the body of a 200 as it
  // arrives, in the calling thread; false ends the request. The response's body is then empty. A
  // line is as long as a response may be.
  std::function<bool(const std::string& line)> on_line;
  std::stop_token stop;  // ends a request that hangs
};

struct HttpResponse {
  int status = 0;
  std::string body;
};

// Sends exactly once. Every status of the server is an answer. Throws Error(kUnavailable) when
// there is no complete answer; it is then not known whether the server has seen the request.
HttpResponse Send(const HttpEndpoint& endpoint, const HttpRequest& request);

}  // namespace pgrejoin
