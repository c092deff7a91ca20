#include "wal/wal_files.h"

#include <unistd.h>

#include <cerrno>

#include "base/error.h"
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
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError(ErrorKind::kTargetFailed, "could not read WAL segment");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace pgrejoin
