#include "k8s/cluster_config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/unique_fd.h"

namespace pgrejoin {
namespace {

constexpr size_t kSmallFileBytesMax = 1024 * 1024;

Error Unsupported(const std::string& what) {
  return Error(ErrorKind::kUsage, "kubeconfig: " + what + " is not supported",
               "Use a kubeconfig with a token or a client certificate, for example the output of "
               "`kubectl config view --raw --minify`.");
}

std::string TextOf(const YAML::Node& map, const char* key) {
  const YAML::Node value = map[key];
  if (!value || value.IsNull()) return {};
  if (!value.IsScalar()) {
    throw Error(ErrorKind::kUsage, std::string("kubeconfig: \"") + key + "\" is not a text");
  }
  return value.Scalar();
}

// The member `member` of the entry called `name` in the list `list`.
YAML::Node Entry(const YAML::Node& config, const char* list, const std::string& name,
                 const char* member) {
  const YAML::Node entries = config[list];
  if (entries && entries.IsSequence()) {
    for (const YAML::Node& entry : entries) {
      if (entry.IsMap() && TextOf(entry, "name") == name && entry[member] &&
          entry[member].IsMap()) {
        return entry[member];
      }
    }
  }
  throw Error(ErrorKind::kUsage,
              std::string("kubeconfig: no entry \"") + Printable(name) + "\" in " + list);
}

std::optional<std::string> DecodeBase64(const std::string& text) {
  std::string out;
  unsigned bits = 0;
  unsigned value = 0;
  for (const char c : text) {
    if (c == '=' || c == '\n' || c == '\r') continue;
    static constexpr char kAlphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char* digit = c == '\0' ? nullptr : std::strchr(kAlphabet, c);
    if (digit == nullptr) return std::nullopt;
    value = (value << 6 | static_cast<unsigned>(digit - kAlphabet)) & 0xffffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(value >> bits & 0xff);
    }
  }
  return out;
}

// "<key>-data" holds base64, "<key>" a path relative to the kubeconfig.
std::string PemOf(const YAML::Node& map, const std::string& key,
                  const std::filesystem::path& directory) {
  const std::string data = TextOf(map, (key + "-data").c_str());
  if (!data.empty()) {
    const auto decoded = DecodeBase64(data);
    if (!decoded) throw Error(ErrorKind::kUsage, "kubeconfig: " + key + "-data is not base64");
    return *decoded;
  }
  const std::string path = TextOf(map, key.c_str());
  return path.empty() ? std::string() : ReadSmallFile(directory / path, key);
}

ClusterConfig FromKubeconfig(const YAML::Node& config, const std::filesystem::path& directory) {
  if (!config.IsMap()) throw Error(ErrorKind::kUsage, "kubeconfig: not a map");
  const YAML::Node context =
      Entry(config, "contexts", TextOf(config, "current-context"), "context");
  const YAML::Node cluster = Entry(config, "clusters", TextOf(context, "cluster"), "cluster");
  const YAML::Node user = Entry(config, "users", TextOf(context, "user"), "user");
  for (const char* key : {"insecure-skip-tls-verify", "proxy-url", "tls-server-name"}) {
    const std::string value = TextOf(cluster, key);
    if (!value.empty() && value != "false") throw Unsupported(key);
  }
  for (const char* key : {"exec", "auth-provider", "username", "as"}) {
    if (user[key]) throw Unsupported(key);
  }
  ClusterConfig result;
  result.endpoint.base_url = TextOf(cluster, "server");
  result.endpoint.ca_pem = PemOf(cluster, "certificate-authority", directory);
  result.endpoint.certificate_pem = PemOf(user, "client-certificate", directory);
  result.endpoint.key_pem = PemOf(user, "client-key", directory);
  result.token = TextOf(user, "token");
  const std::string token_file = TextOf(user, "tokenFile");
  if (!token_file.empty()) result.token_file = directory / token_file;
  result.default_namespace = TextOf(context, "namespace");
  if (result.default_namespace.empty()) result.default_namespace = "default";
  return result;
}

void CheckConfig(const ClusterConfig& config) {
  const std::string& url = config.endpoint.base_url;
  const bool https = url.starts_with("https://");
  if (!https && !url.starts_with("http://")) {
    throw Error(ErrorKind::kUsage, "API server address \"" + Printable(url) + "\" is no URL");
  }
  if (!https && !(config.token.empty() && config.token_file.empty())) {
    throw Error(ErrorKind::kUsage,
                "refusing to send a token to " + Printable(url) + " without TLS");
  }
  if (config.endpoint.certificate_pem.empty() != config.endpoint.key_pem.empty()) {
    throw Error(ErrorKind::kUsage, "kubeconfig: client certificate and key belong together");
  }
}

}  // namespace

std::string ReadSmallFile(const std::string& path, const std::string& what) {
  const std::string described = what + " \"" + Printable(path) + "\"";
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    throw SystemError(ErrorKind::kUsage, "could not open " + described);
  }
  std::string content;
  char buffer[16 * 1024];
  while (true) {
    const ssize_t bytes = ::read(fd.get(), buffer, sizeof(buffer));
    if (bytes < 0) {
      if (errno == EINTR) continue;
      throw SystemError(ErrorKind::kUsage, "could not read " + described);
    }
    if (bytes == 0) return content;
    content.append(buffer, static_cast<size_t>(bytes));
    if (content.size() > kSmallFileBytesMax) {
      throw Error(ErrorKind::kUsage, described + " is too long");
    }
  }
}

ClusterConfig InClusterConfig(const std::string& host, const std::string& port,
                              const std::string& service_account_directory) {
  // cpprestsdk cannot connect to an IPv6 literal; the name is in the server's certificate too.
  const bool ipv6 = host.find(':') != std::string::npos;
  ClusterConfig config;
  config.endpoint.base_url =
      "https://" + (ipv6 ? std::string("kubernetes.default.svc") : host) + ":" + port;
  config.ca_file = service_account_directory + "/ca.crt";
  config.token_file = service_account_directory + "/token";
  config.default_namespace =
      ReadSmallFile(service_account_directory + "/namespace", "the service account's namespace");
  CheckConfig(config);
  return config;
}

ClusterConfig ReadKubeconfig(const std::string& path) {
  const std::string text = ReadSmallFile(path, "kubeconfig");
  YAML::Node parsed;
  try {
    parsed = YAML::Load(text);
    ClusterConfig config = FromKubeconfig(parsed, std::filesystem::path(path).parent_path());
    CheckConfig(config);
    return config;
  } catch (const YAML::Exception& error) {
    throw Error(ErrorKind::kUsage, "kubeconfig \"" + path + "\": " + Printable(error.what()));
  }
}

ClusterConfig LoadClusterConfig(const std::string& kubeconfig) {
  if (!kubeconfig.empty()) {
    if (kubeconfig.find(':') != std::string::npos) throw Unsupported("a list of files");
    return ReadKubeconfig(kubeconfig);
  }
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) {
    throw Error(ErrorKind::kUsage, "not in a Kubernetes pod, and no kubeconfig given",
                "Give --kubeconfig FILE or set KUBECONFIG.");
  }
  return InClusterConfig(host, port, kServiceAccountDirectory);
}

}  // namespace pgrejoin
