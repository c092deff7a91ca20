#include "wal/wal_files.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "base/file_access.h"
#include "pgdata/wal_segment_name.h"

namespace pgrejoin {

std::vector<std::string> SegmentFileCandidates(const TimelineHistory& history, uint64_t segment,
                                               uint32_t segment_size) {
  std::vector<std::string> names;
  const auto& entries = history.entries();
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->begin.value / segment_size > segment) continue;
    names.push_back(WalSegmentName{entry->tli, segment}.ToString(segment_size));
    // An older timeline that ended before this segment has nothing of our line in it.
    if (entry->begin.value / segment_size < segment) break;
  }
  return names;
}

UniqueFd LocalWalFiles::OpenSegment(uint64_t segment) const {
  for (const std::string& name : SegmentFileCandidates(history_, segment, segment_size_)) {
    UniqueFd fd = open_(name);
    if (fd.valid()) return fd;
  }
  return {};
}

size_t LocalWalFiles::Read(uint64_t segment, uint32_t offset, MutableBytes out) {
  if (current_ != segment) {
    fd_ = OpenSegment(segment);
    current_ = segment;
  }
  if (!fd_.valid()) return 0;
  const auto got = ReadAt(fd_, offset, out);
  if (!got) throw SystemError(ErrorKind::kTargetFailed, "could not read WAL segment");
  return *got;
}

std::string LocalWalFiles::Missing(uint64_t segment) const {
  if (current_ == segment && fd_.valid()) return {};
  return fmt::format("could not open file \"{}/{}\": No such file or directory", directory_,
                     SegmentFileCandidates(history_, segment, segment_size_).front());
}

}  // namespace pgrejoin
