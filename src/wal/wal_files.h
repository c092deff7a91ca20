// Where the bytes of WAL segments come from: a directory, or a running source.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "pgdata/timeline_history.h"
#include "pgdata/types.h"

namespace pgrejoin {

class WalFiles {
 public:
  virtual ~WalFiles() = default;
  // Fills out from the segment's file at offset; returns how many bytes there are (fewer at the end
  // of a short file, 0 when there is no such segment). Throws on I/O errors.
  virtual size_t Read(uint64_t segment, uint32_t offset, MutableBytes out) = 0;
  // Why Read() has nothing where that is for want of a file; else empty.
  virtual std::string Missing(uint64_t /*segment*/) const { return {}; }
};

// For each segment the newest timeline of the line of descent that reaches into it and has a file,
// as XLogFileReadAnyTLI() chooses. Which files those are is the directory's matter: open is given
// a name and returns an invalid descriptor when there is no such file. Missing() names the newest
// of them, in directory, in pg_rewind's words: by those Patroni knows which one to fetch.
class LocalWalFiles : public WalFiles {
 public:
  using OpenFile = std::function<UniqueFd(const std::string& name)>;

  LocalWalFiles(std::string directory, OpenFile open, TimelineHistory history,
                uint32_t segment_size)
      : directory_(std::move(directory)),
        open_(std::move(open)),
        history_(std::move(history)),
        segment_size_(segment_size) {}

  size_t Read(uint64_t segment, uint32_t offset, MutableBytes out) override;
  std::string Missing(uint64_t segment) const override;

 private:
  UniqueFd OpenSegment(uint64_t segment) const;

  std::string directory_;
  OpenFile open_;
  TimelineHistory history_;
  uint32_t segment_size_;
  std::optional<uint64_t> current_;
  UniqueFd fd_;
};

// Names of the files that may hold a segment, newest timeline first.
std::vector<std::string> SegmentFileCandidates(const TimelineHistory& history, uint64_t segment,
                                               uint32_t segment_size);

}  // namespace pgrejoin
