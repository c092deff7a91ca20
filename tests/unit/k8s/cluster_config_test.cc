#include "k8s/cluster_config.h"

#include "base/error.h"
#include "unit/k8s/fake_api_server.h"

namespace pgrejoin {
namespace {

class ClusterConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "config-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  ClusterConfig Read(const std::string& text) {
    WriteText(directory_ / "config", text);
    return ReadKubeconfig(directory_ / "config");
  }

  std::string RefusalOf(const std::string& text) {
    try {
      Read(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.message();
    }
    ADD_FAILURE() << "accepted: " << text;
    return {};
  }

  std::filesystem::path directory_;
};

// What kubectl writes.
constexpr const char* kYaml = R"(apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Y2EtcGVt
    server: https://10.1.2.3:6443
  name: kind
contexts:
- context:
    cluster: kind
    namespace: shop
    user: admin
  name: work
current-context: work
kind: Config
preferences: {}
users:
- name: admin
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
)";

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST_F(ClusterConfigTest, KubeconfigWithClientCertificate) {
  const ClusterConfig config = Read(kYaml);
  EXPECT_EQ(config.endpoint.base_url, "https://10.1.2.3:6443");
  EXPECT_EQ(config.endpoint.ca_pem, "ca-pem");
  EXPECT_EQ(config.endpoint.certificate_pem, "cert");
  EXPECT_EQ(config.endpoint.key_pem, "key");
  EXPECT_EQ(config.default_namespace, "shop");
}

TEST_F(ClusterConfigTest, KubeconfigInJsonWithTokenAndFiles) {
  WriteText(directory_ / "ca.pem", "from a file");
  const ClusterConfig config = Read(
      R"({"clusters":[{"name":"c","cluster":{"server":"https://h:1","certificate-authority":"ca.pem"}}],
          "contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"current-context":"x",
          "users":[{"name":"u","user":{"token":"s3cret"}}]})");
  EXPECT_EQ(config.endpoint.ca_pem, "from a file");
  EXPECT_EQ(config.token, "s3cret");
  EXPECT_EQ(config.default_namespace, "default");
}

TEST_F(ClusterConfigTest, WhatIsNotSupportedIsRefusedByName) {
  const std::string yaml = kYaml;
  EXPECT_NE(RefusalOf(Replaced(yaml, "client-key-data: a2V5", "exec: {command: aws}")).find("exec"),
            std::string::npos);
  EXPECT_NE(
      RefusalOf(Replaced(yaml, "    server:", "    insecure-skip-tls-verify: true\n    server:"))
          .find("insecure-skip-tls-verify"),
      std::string::npos);
  EXPECT_NE(RefusalOf(Replaced(yaml, "current-context: work", "current-context: gone"))
                .find("no entry \"gone\" in contexts"),
            std::string::npos);
  EXPECT_NE(RefusalOf(Replaced(yaml, "a2V5", "\"*\"")).find("base64"), std::string::npos);
  EXPECT_NE(RefusalOf(Replaced(yaml, "    client-key-data: a2V5\n", "")).find("belong together"),
            std::string::npos);
  RefusalOf("a: [");
  RefusalOf("just text");
}

TEST_F(ClusterConfigTest, TokenIsNotSentWithoutTls) {
  const std::string message =
      RefusalOf(R"({"clusters":[{"name":"c","cluster":{"server":"http://h:1"}}],
          "contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"current-context":"x",
          "users":[{"name":"u","user":{"token":"s3cret"}}]})");
  EXPECT_NE(message.find("without TLS"), std::string::npos);
  EXPECT_EQ(message.find("s3cret"), std::string::npos);
}

TEST_F(ClusterConfigTest, InTheCluster) {
  WriteText(directory_ / "namespace", "shop");
  const ClusterConfig config = InClusterConfig("10.96.0.1", "443", directory_);
  EXPECT_EQ(config.endpoint.base_url, "https://10.96.0.1:443");
  EXPECT_EQ(config.token_file, directory_ / "token");
  EXPECT_EQ(config.ca_file, directory_ / "ca.crt");
  EXPECT_EQ(InClusterConfig("fd00::1", "443", directory_).endpoint.base_url,
            "https://kubernetes.default.svc:443");
}

TEST_F(ClusterConfigTest, OutsideWithoutKubeconfig) {
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_THROW(LoadClusterConfig(""), Error);
  EXPECT_THROW(LoadClusterConfig("/a/config:/b/config"), Error);
  EXPECT_THROW(LoadClusterConfig(directory_ / "absent"), Error);
}

}  // namespace
}  // namespace pgrejoin
