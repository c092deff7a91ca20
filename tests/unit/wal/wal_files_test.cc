#include "wal/wal_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <map>

namespace pgrejoin {
namespace {

constexpr uint32_t kSegment = 1 << 20;

TimelineHistory History(const char* text) { return *TimelineHistory::FromString(text); }

TEST(SegmentFileCandidates, NewestTimelineThatReachesIntoTheSegment) {
  const TimelineHistory history = History("1@0/0,2@0/380000,3@0/500000");
  using Names = std::vector<std::string>;
  EXPECT_EQ(SegmentFileCandidates(history, 2, kSegment), (Names{"000000010000000000000002"}));
  // The switch segment exists on both, the newer one with the older part at its front.
  EXPECT_EQ(SegmentFileCandidates(history, 3, kSegment),
            (Names{"000000020000000000000003", "000000010000000000000003"}));
  // Timeline 1 ended before: its files of that name are another line's.
  EXPECT_EQ(SegmentFileCandidates(history, 4, kSegment), (Names{"000000020000000000000004"}));
  // A switch exactly on the boundary.
  EXPECT_EQ(SegmentFileCandidates(history, 5, kSegment),
            (Names{"000000030000000000000005", "000000020000000000000005"}));
  EXPECT_EQ(SegmentFileCandidates(history, 900, kSegment), (Names{"000000030000000000000384"}));
}

TEST(SegmentFileCandidates, TwoSwitchesInOneSegment) {
  const TimelineHistory history = History("1@0/0,2@0/310000,3@0/320000");
  EXPECT_EQ(SegmentFileCandidates(history, 3, kSegment).size(), 3u);
  EXPECT_EQ(SegmentFileCandidates(history, 3, kSegment).front(), "000000030000000000000003");
}

class LocalFiles : public ::testing::Test {
 protected:
  void Make(const std::string& name, const std::string& content) { files_[name] = content; }
  LocalWalFiles Open(const char* history) {
    return LocalWalFiles(
        "/data/pg_wal",
        [this](const std::string& name) {
          ++opened_;
          const auto file = files_.find(name);
          if (file == files_.end()) return UniqueFd();
          UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC));
          EXPECT_EQ(::write(fd.get(), file->second.data(), file->second.size()),
                    static_cast<ssize_t>(file->second.size()));
          return fd;
        },
        History(history), kSegment);
  }
  static std::string Read(LocalWalFiles& files, uint64_t segment, uint32_t offset, size_t bytes) {
    std::string out(bytes, '?');
    out.resize(files.Read(segment, offset, std::as_writable_bytes(std::span(out))));
    return out;
  }
  std::map<std::string, std::string> files_;
  int opened_ = 0;
};

// Patroni looks for the whole of it, and for a name below a directory pg_wal.
TEST_F(LocalFiles, ASegmentThatIsMissingIsNamedInPgRewindsWords) {
  Make("000000010000000000000003", "old");
  LocalWalFiles files = Open("1@0/0,2@0/480000");
  Read(files, 3, 0, 10);
  EXPECT_EQ(files.Missing(3), "");
  EXPECT_EQ(files.Missing(2),
            "could not open file \"/data/pg_wal/000000010000000000000002\": "
            "No such file or directory");
}

TEST_F(LocalFiles, FallsBackToTheOlderTimelineInTheSwitchSegment) {
  Make("000000010000000000000003", "old");
  LocalWalFiles files = Open("1@0/0,2@0/380000");
  EXPECT_EQ(Read(files, 3, 0, 10), "old");
  Make("000000020000000000000003", "new");
  LocalWalFiles again = Open("1@0/0,2@0/380000");
  EXPECT_EQ(Read(again, 3, 1, 1), "e");
}

TEST_F(LocalFiles, ShortAndMissingFiles) {
  Make("000000010000000000000001", "abc");
  LocalWalFiles files = Open("1@0/0");
  EXPECT_EQ(Read(files, 1, 1, 100), "bc");
  EXPECT_EQ(Read(files, 1, 3, 100), "");
  EXPECT_EQ(Read(files, 2, 0, 100), "");
  EXPECT_EQ(Read(files, 1, 0, 100), "abc");
}

TEST_F(LocalFiles, OneOpenASegment) {
  Make("000000010000000000000001", "abc");
  LocalWalFiles files = Open("1@0/0");
  for (int i = 0; i < 5; ++i) Read(files, 1, 0, 3);
  EXPECT_EQ(opened_, 1);
}

}  // namespace
}  // namespace pgrejoin
