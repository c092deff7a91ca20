// A kubeconfig. Input: the file.
#include <filesystem>

#include "fuzz/fuzz.h"
#include "fuzz/scratch_file.h"
#include "k8s/cluster_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  static const ScratchFile file("config");
  file.Write({reinterpret_cast<const char*>(data), size});
  Accepts([&] {
    const ClusterConfig config = ReadKubeconfig(file.path());
    const std::string& url = config.endpoint.base_url;
    const bool secret = !config.token.empty() || !config.token_file.empty();
    Require(url.starts_with("https://") || (url.starts_with("http://") && !secret),
            "no token goes out without TLS");
    Require(config.endpoint.certificate_pem.empty() == config.endpoint.key_pem.empty(),
            "certificate and key come together");
    Require(!config.default_namespace.empty(), "there is a namespace");
  });
  return 0;
}
