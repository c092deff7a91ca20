// Runs fake_api_server.py for a test suite; the server ends when this object does.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "k8s/cluster_config.h"

namespace pgrejoin {

inline void WriteText(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::trunc) << text;
}

inline std::string ReadText(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class FakeApiServer {
 public:
  FakeApiServer() {
    std::string name = (std::filesystem::temp_directory_path() / "k8s-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
    WriteText(directory_ / "token", "first-token\n");
    WriteText(directory_ / "namespace", "shop");
    int to_child[2];
    int from_child[2];
    if (::pipe(to_child) != 0 || ::pipe(from_child) != 0) throw std::runtime_error("pipe");
    const std::string script = std::filesystem::path(__FILE__).parent_path() / "fake_api_server.py";
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(to_child[0], 0);
      ::dup2(from_child[1], 1);
      ::close(to_child[1]);
      ::execlp("python3", "python3", script.c_str(), directory_.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(to_child[0]);
    ::close(from_child[1]);
    stdin_ = to_child[1];
    char port[16] = {};
    if (::read(from_child[0], port, sizeof(port) - 1) <= 0) {
      throw std::runtime_error("fake_api_server.py did not start");
    }
    ::close(from_child[0]);
    port_ = std::to_string(std::stoi(port));
  }
  ~FakeApiServer() {
    ::close(stdin_);
    ::waitpid(child_, nullptr, 0);
    std::filesystem::remove_all(directory_);
  }
  FakeApiServer(const FakeApiServer&) = delete;
  FakeApiServer& operator=(const FakeApiServer&) = delete;

  const std::filesystem::path& directory() const { return directory_; }
  const std::string& port() const { return port_; }
  std::string url() const { return "https://127.0.0.1:" + port_; }

  // As a pod sees it: token file, ca.crt and namespace are in the directory.
  ClusterConfig InCluster() const { return InClusterConfig("127.0.0.1", port_, directory_); }

 private:
  std::filesystem::path directory_;
  std::string port_;
  pid_t child_ = -1;
  int stdin_ = -1;
};

}  // namespace pgrejoin
