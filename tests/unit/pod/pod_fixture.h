// A pod of its own for each test: directories, secrets, a fake API.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "pod/pod_options.h"
#include "unit/topology/fake_api.h"

namespace pgrejoin {

inline std::string ReadText(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class PodFixture : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "pod-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    for (const char* below : {"run", "secret", "data/pgdata"}) {
      std::filesystem::create_directories(directory_ / below);
    }
    std::ofstream(directory_ / "secret/replication") << "c4nary:repl\\\n";
    std::ofstream(directory_ / "secret/rewind") << "c4nary-rewind\n";
    options_.pgdata = directory_ / "data/pgdata";
    options_.pod_name = "x-0";
    options_.name_space = "shop";
    options_.pod_uid = "uid-x-0";
    options_.record = "authority";
    options_.primary_service = "x-primary";
    options_.headless_service = "x-headless";
    options_.pod_selector = "app=x";
    options_.rewind_password_file = directory_ / "secret/rewind";
    options_.replication_password_file = directory_ / "secret/replication";
    options_.run_dir = directory_ / "run";
    options_.bin_dir = "";
    options_.termination_log = directory_ / "termination-log";
    for (const char* pod : {"x-0", "x-1"}) api_.AddPod(pod);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
  PodOptions options_;
  FakeApi api_;
};

}  // namespace pgrejoin
