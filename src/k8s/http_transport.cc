#include "k8s/http_transport.h"

#include <cpprest/http_client.h>
#include <cpprest/rawptrstream.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pplx/threadpool.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <optional>

#include "base/error.h"

namespace pgrejoin {
namespace {

using web::http::client::http_client;
using web::http::client::http_client_config;

constexpr size_t kReadBytes = 64 * 1024;

// The first client would start 40 threads. We block in our own threads only and never use .then(),
// so one is enough.
void InitialiseOnce() {
  static std::once_flag once;
  std::call_once(once, [] { crossplat::threadpool::initialize_with_threads(1); });
}

// The library loads the system's authorities into every context; a fresh store forgets them.
void TrustOnly(boost::asio::ssl::context& context, const std::string& ca_pem) {
  X509_STORE* store = X509_STORE_new();
  if (store == nullptr) throw Error(ErrorKind::kInternal, "out of memory for a certificate store");
  SSL_CTX_set_cert_store(context.native_handle(), store);  // takes ownership
  context.add_certificate_authority(boost::asio::buffer(ca_pem));
}

http_client_config MakeConfig(const HttpEndpoint& endpoint, const HttpRequest& request) {
  http_client_config config;
  config.set_timeout(request.timeout);
  config.set_validate_certificates(true);
  config.set_ssl_context_callback([&endpoint](boost::asio::ssl::context& context) {
    if (!endpoint.ca_pem.empty()) TrustOnly(context, endpoint.ca_pem);
    if (!endpoint.certificate_pem.empty()) {
      context.use_certificate_chain(boost::asio::buffer(endpoint.certificate_pem));
      context.use_private_key(boost::asio::buffer(endpoint.key_pem),
                              boost::asio::ssl::context::pem);
    }
  });
  return config;
}

web::http::http_request MakeRequest(const HttpRequest& request) {
  web::http::http_request message(request.method);
  message.set_request_uri(web::uri(request.target));
  for (const auto& [name, value] : request.headers) message.headers().add(name, value);
  if (!request.body.empty()) {
    message.set_body(request.body, "text/plain");
    message.headers().set_content_type(request.content_type);
  }
  return message;
}

// Hands the whole lines of body over and keeps the rest; false: the caller has heard enough.
bool TakeLines(const HttpRequest& request, std::string* body) {
  size_t begin = 0;
  for (size_t end = 0; (end = body->find('\n', begin)) != std::string::npos; begin = end + 1) {
    if (!request.on_line(body->substr(begin, end - begin))) return false;
  }
  body->erase(0, begin);
  return true;
}

std::string ReadBody(const web::http::http_response& response, const HttpRequest& request,
                     std::chrono::steady_clock::time_point deadline) {
  const bool by_line = request.on_line && response.status_code() == web::http::status_codes::OK;
  std::string body;
  std::string chunk(kReadBytes, '\0');
  auto stream = response.body();
  while (true) {
    concurrency::streams::rawptr_buffer<char> buffer(chunk.data(), chunk.size(), std::ios::out);
    // The library waits until it has as much as is asked for, or the end.
    const size_t there = std::max<size_t>(stream.streambuf().in_avail(), 1);
    const size_t wanted = by_line ? std::min(there, chunk.size()) : chunk.size();
    const size_t bytes = stream.read(buffer, wanted).get();
    if (bytes == 0) break;
    body.append(chunk, 0, bytes);
    if (by_line && !TakeLines(request, &body)) return {};
    if (body.size() > request.response_bytes_max) {
      throw Error(ErrorKind::kUnavailable, "answer of the API server is too long");
    }
    if (std::chrono::steady_clock::now() > deadline) {
      throw Error(ErrorKind::kUnavailable, "answer of the API server takes too long");
    }
  }
  const size_t announced = response.headers().content_length();
  if (!by_line && response.headers().has("Content-Length") && body.size() != announced) {
    throw Error(ErrorKind::kUnavailable, "answer of the API server was cut short");
  }
  return by_line ? std::string() : body;
}

// The library's error codes and texts are wrong ("Operation not permitted" for an unknown host), so
// the message names what was tried and only quotes the library.
Error NoAnswer(const HttpEndpoint& endpoint, const HttpRequest& request, const char* what) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  return Error(ErrorKind::kUnavailable, "no answer from the Kubernetes API server " +
                                            endpoint.base_url + " to " + request.method + " " +
                                            path + ": " + Printable(what));
}

}  // namespace

HttpResponse Send(const HttpEndpoint& endpoint, const HttpRequest& request) {
  InitialiseOnce();
  const auto deadline = std::chrono::steady_clock::now() + request.timeout;
  try {
    // A client of its own: on a pooled connection the library may send a request twice.
    http_client client(web::uri(endpoint.base_url), MakeConfig(endpoint, request));
    pplx::cancellation_token_source cancel;
    const std::stop_callback on_stop(request.stop, [&cancel] { cancel.cancel(); });
    const web::http::http_response response =
        client.request(MakeRequest(request), cancel.get_token()).get();
    HttpResponse answer{response.status_code(), ReadBody(response, request, deadline)};
    // Of a body that goes on the library would keep the connection.
    if (request.on_line) cancel.cancel();
    return answer;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    if (request.stop.stop_requested()) {
      throw Error(ErrorKind::kUnavailable, "interrupted");
    }
    throw NoAnswer(endpoint, request, error.what());
  }
}

}  // namespace pgrejoin
