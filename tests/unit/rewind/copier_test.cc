#include "rewind/copier.h"

#include <gtest/gtest.h>

#include <condition_variable>

#include "base/error.h"
#include "harness/fake_source.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;
using testing::FakeSource;
using testing::ReadText;
using testing::WriteText;

class CopierTest : public ::testing::Test {
 protected:
  CopierTest()
      : lock_(DirectoryLock::Acquire((scratch_ / "data").string())),
        target_(TargetDirectory::OpenForChange(lock_)) {}
  static std::filesystem::path Make(const std::filesystem::path& path) {
    std::filesystem::create_directory(path);
    return path;
  }
  std::string Target(const std::string& path) { return ReadText(scratch_ / ("data/" + path)); }
  static std::string Pattern(size_t bytes, int seed) {
    std::string text(bytes, '\0');
    for (size_t i = 0; i < bytes; ++i) {
      text[i] = static_cast<char>((i * 31 + i / 8192 + static_cast<size_t>(seed)) & 0xff);
    }
    return text;
  }

  testing::ScratchDirectory scratch_;
  std::filesystem::path data_ = Make(scratch_ / "data");
  FakeSource source_;
  DirectoryLock lock_;
  TargetDirectory target_;
  std::atomic<uint64_t> bytes_{0};
};

TEST_F(CopierTest, NothingToDoOpensNoConnection) {
  Copier copier(source_, target_, {.connections = 4}, [](const CopyRange&, uint64_t) {});
  const CopyShortfall shortfall = copier.Finish();
  EXPECT_TRUE(shortfall.vanished.empty());
  EXPECT_EQ(source_.readers_opened, 0);
}

TEST_F(CopierTest, CopiesRangesToTheirPlaces) {
  source_.files["a"] = Pattern(5 << 20, 1);
  source_.files["b"] = Pattern(100, 2);
  WriteText(data_ / "renamed", std::string(6 << 20, '.'));
  {
    Copier copier(source_, target_, {.connections = 3},
                  [this](const CopyRange&, uint64_t bytes) { bytes_ += bytes; });
    copier.Add({"a", "renamed", 1000, (3 << 20) + 17});  // longer than a piece
    copier.Add({"b", "new", 0, 100});
    const CopyShortfall shortfall = copier.Finish();
    EXPECT_TRUE(shortfall.vanished.empty());
    EXPECT_TRUE(shortfall.shortened_to.empty());
  }
  std::string expected(6 << 20, '.');
  expected.replace(1000, (3 << 20) + 17, source_.files["a"].substr(1000, (3 << 20) + 17));
  EXPECT_TRUE(Target("renamed") == expected);
  EXPECT_EQ(Target("new"), source_.files["b"]);
  EXPECT_EQ(bytes_, (uint64_t{3} << 20) + 17 + 100);
}

TEST_F(CopierTest, ManySmallRangesOnManyConnections) {
  constexpr int kFiles = 40;
  constexpr uint64_t kBlocks = 100;
  for (int i = 0; i < kFiles; ++i)
    source_.files["f" + std::to_string(i)] = Pattern(kBlocks * 8192, i);
  {
    Copier copier(source_, target_, {.connections = 8}, [](const CopyRange&, uint64_t) {});
    for (int i = 0; i < kFiles; ++i) {
      const std::string name = "f" + std::to_string(i);
      for (uint64_t block = 0; block < kBlocks; ++block)
        copier.Add({name, name, block * 8192, 8192});
    }
    copier.Finish();
  }
  for (const auto& [name, content] : source_.files) EXPECT_TRUE(Target(name) == content) << name;
  EXPECT_LE(source_.readers_opened, 8);
  EXPECT_EQ(source_.requests, kFiles * kBlocks);
}

TEST_F(CopierTest, TellsWhatVanishedAndWhatBecameShorter) {
  source_.files["short"] = std::string(10'000, 'x');
  source_.files["shorter"] = std::string(20'000, 'x');
  Copier copier(source_, target_, {.connections = 1}, [](const CopyRange&, uint64_t) {});
  copier.Add({"short", "short", 0, 16'384});
  copier.Add({"shorter", "shorter", 0, 8192});
  copier.Add({"shorter", "shorter", 16'384, 8192});
  copier.Add({"shorter", "shorter", 81'920, 8192});
  copier.Add({"gone", "gone", 0, 8192});
  const CopyShortfall shortfall = copier.Finish();
  EXPECT_EQ(shortfall.vanished, (std::set<std::string>{"gone"}));
  ASSERT_EQ(shortfall.shortened_to.size(), 2u);
  EXPECT_EQ(shortfall.shortened_to.at("short"), 10'000u);
  EXPECT_EQ(shortfall.shortened_to.at("shorter"), 20'000u);
  EXPECT_FALSE(std::filesystem::exists(data_ / "gone"));
}

TEST_F(CopierTest, TheErrorOfAWorkerIsTheCallersError) {
  source_.files["a"] = std::string(100, 'x');
  source_.on_fetch = [](const FetchRequest&) {
    throw Error(ErrorKind::kSourceChanged, "restarted");
  };
  Copier copier(source_, target_, {.connections = 2}, [](const CopyRange&, uint64_t) {});
  copier.Add({"a", "a", 0, 100});
  try {
    copier.Finish();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kSourceChanged);
  }
}

TEST_F(CopierTest, AnErrorOfTheStorageToo) {
  source_.files["a"] = std::string(100, 'x');
  std::filesystem::create_directory(data_ / "a");
  Copier copier(source_, target_, {.connections = 1}, [](const CopyRange&, uint64_t) {});
  copier.Add({"a", "a", 0, 100});
  try {
    copier.Finish();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTargetFailed);
  }
}

// The queue is full, its only worker dies: the caller must not wait for ever.
TEST_F(CopierTest, AFullQueueAndAFailingWorkerDoNotHang) {
  source_.files["a"] = std::string(8192, 'x');
  std::atomic<bool> fail{false};
  source_.on_fetch = [&](const FetchRequest&) {
    while (!fail) std::this_thread::sleep_for(milliseconds(1));
    throw Error(ErrorKind::kUnavailable, "connection lost");
  };
  std::jthread later([&] {
    std::this_thread::sleep_for(milliseconds(200));
    fail = true;
  });
  Copier copier(source_, target_, {.connections = 1}, [](const CopyRange&, uint64_t) {});
  const auto add_much = [&] {
    for (int i = 0; i < 1'000'000; ++i) copier.Add({"a", "a", 0, 8192});
    copier.Finish();
  };
  EXPECT_THROW(add_much(), Error);
}

TEST_F(CopierTest, TheFirstConnectionMustOpenTheOthersMay) {
  source_.files["a"] = std::string(8192, 'x');
  std::atomic<int> attempts{0};
  source_.on_open = [&] {
    if (++attempts > 1) throw Error(ErrorKind::kUnavailable, "too many clients already");
  };
  {
    Copier copier(source_, target_, {.connections = 4}, [](const CopyRange&, uint64_t) {});
    for (int i = 0; i < 5000; ++i) copier.Add({"a", "a", 0, 8192});
    EXPECT_NO_THROW(copier.Finish());
  }
  EXPECT_EQ(source_.requests, 5000u);
  source_.on_open = [] { throw Error(ErrorKind::kUnavailable, "connection refused"); };
  Copier copier(source_, target_, {.connections = 4}, [](const CopyRange&, uint64_t) {});
  const auto add_much = [&] {
    for (int i = 0; i < 100'000; ++i) copier.Add({"a", "a", 0, 8192});
    copier.Finish();
  };
  EXPECT_THROW(add_much(), Error);
}

TEST_F(CopierTest, AnotherIncarnationOnALaterConnectionIsAnError) {
  source_.files["a"] = std::string(8192, 'x');
  std::atomic<int> attempts{0};
  source_.on_open = [&] {
    if (++attempts > 1) throw Error(ErrorKind::kSourceChanged, "another server");
  };
  Copier copier(source_, target_, {.connections = 4}, [](const CopyRange&, uint64_t) {});
  const auto add_much = [&] {
    for (int i = 0; i < 5000; ++i) copier.Add({"a", "a", 0, 8192});
    copier.Finish();
  };
  EXPECT_THROW(add_much(), Error);
}

TEST_F(CopierTest, StopEndsItAsInterrupted) {
  source_.files["a"] = std::string(8192, 'x');
  std::stop_source stop;
  Copier copier(source_, target_, {.connections = 2, .stop = stop.get_token()},
                [&](const CopyRange&, uint64_t) { stop.request_stop(); });
  const auto add_much = [&] {
    for (int i = 0; i < 1'000'000; ++i) copier.Add({"a", "a", 0, 8192});
    copier.Finish();
  };
  try {
    add_much();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
  }
}

TEST_F(CopierTest, GivingUpWithoutFinishDoesNotHang) {
  source_.files["a"] = std::string(8192, 'x');
  Copier copier(source_, target_, {.connections = 4}, [](const CopyRange&, uint64_t) {});
  for (int i = 0; i < 3000; ++i) copier.Add({"a", "a", 0, 8192});
}

// What is behind a gap is worth nothing to a run that fetches in order.
TEST_F(CopierTest, NoBatchRunsFarAheadOfOneThatIsNotWritten) {
  constexpr uint64_t kBatch = 1000;
  constexpr size_t kAhead = 5;
  source_.files["a"] = Pattern(100 * kBatch, 3);
  std::mutex mutex;
  std::condition_variable wakeup;
  bool open = false;
  std::atomic<uint64_t> furthest{0};
  source_.on_fetch = [&](const FetchRequest& request) {
    if (request.offset == 3 * kBatch) {
      std::unique_lock lock(mutex);
      wakeup.wait(lock, [&] { return open; });
    }
    if (furthest < request.offset) furthest = request.offset;
  };
  Copier copier(source_, target_,
                {.connections = 2, .batch_bytes = kBatch, .batches_ahead = kAhead},
                [](const CopyRange&, uint64_t) {});
  std::jthread adder([&] {
    for (uint64_t at = 0; at < 100; ++at) copier.Add({"a", "a", at * kBatch, kBatch});
  });
  for (int i = 0; i < 10'000 && furthest < (3 + kAhead - 1) * kBatch; ++i) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(furthest, (3 + kAhead - 1) * kBatch);
  {
    const std::scoped_lock lock(mutex);
    open = true;
  }
  wakeup.notify_all();
  adder.join();
  copier.Finish();
  EXPECT_TRUE(Target("a") == source_.files["a"]);
}

// Memory: however much is added, only so many requests wait.
TEST_F(CopierTest, TheQueueIsBounded) {
  source_.files["a"] = std::string(8192, 'x');
  std::mutex mutex;
  std::condition_variable wakeup;
  bool open = false;
  source_.on_fetch = [&](const FetchRequest&) {
    std::unique_lock lock(mutex);
    wakeup.wait(lock, [&] { return open; });
  };
  std::atomic<int> added{0};
  Copier copier(source_, target_, {.connections = 1}, [](const CopyRange&, uint64_t) {});
  std::jthread adder([&] {
    for (int i = 0; i < 100'000; ++i) {
      copier.Add({"a", "a", 0, 8192});
      ++added;
    }
  });
  int seen = -1;
  while (seen != added || seen == 0) {
    seen = added;
    std::this_thread::sleep_for(milliseconds(200));
  }
  EXPECT_LT(seen, 20'000);
  {
    const std::scoped_lock lock(mutex);
    open = true;
  }
  wakeup.notify_all();
  adder.join();
  copier.Finish();
  EXPECT_EQ(source_.requests, 100'000u);
}

}  // namespace
}  // namespace pgrejoin
