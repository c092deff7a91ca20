// Pages to records: src/backend/access/transam/xlogreader.c.
//
// Reads forward from a record's start. The end of valid WAL is an answer, not an error: on a
// crashed server it is the first record that is not whole, which this reader finds by the same
// checks as crash recovery does (length, previous-record link, page address and timeline, CRC). A
// record whose CRC is right but whose content is not understood throws instead.
//
// Not thread-safe. Holds one chunk of a segment and at most one record in memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "pgdata/types.h"
#include "pgdata/versions.h"
#include "wal/wal_files.h"
#include "wal/wal_record.h"

namespace pgrejoin {

struct WalLayout {
  const PgVersion* version = nullptr;
  uint64_t system_identifier = 0;
  uint32_t segment_size = 0;
  // Those that pages may be of, as recovery's expectedTLEs; empty: any that does not go back.
  std::vector<TimelineId> timelines = {};
};

struct EndOfWal {
  Lsn lsn;  // end of the last record
  std::string
      reason;  // why there is no record: "invalid record length", "could not open file", ...
  // How long the record that is not whole says it is; 0 when there is not even a length.
  uint32_t record_bytes = 0;
  // Everything before it is valid pages and, but for its checksum, the record that is not whole.
  Lsn checked_to;
};

class WalReader {
 public:
  // files must outlive the reader.
  WalReader(WalFiles& files, const WalLayout& layout);

  // The next record read is the one that starts at lsn (a page boundary means: after the page
  // header). Forgets what it knew of the record before.
  void Seek(Lsn lsn);

  // The record stays valid until the next call.
  std::variant<const WalRecord*, EndOfWal> Next();

 private:
  // nullptr when the page is not there or not valid; page_problem_ then says why.
  const std::byte* LoadPage(Lsn page_start);
  bool ValidatePageHeader(Bytes page, Lsn page_start);
  // Assembles a record that crosses pages. overwritten: the record was given up by its writer and
  // reading continues at *next.
  enum class Assembly { kWhole, kBroken, kOverwritten };
  Assembly AssembleRecord(Lsn start, uint32_t total_bytes, Lsn* next);
  bool HeaderIsPlausible(Bytes header, Lsn start);
  EndOfWal End(std::string reason, uint32_t record_bytes = 0) const {
    return {next_, std::move(reason), record_bytes, std::max(next_, checked_to_)};
  }

  WalFiles& files_;
  WalLayout layout_;
  std::vector<std::byte> chunk_;
  Lsn chunk_start_;
  size_t chunk_bytes_ = 0;
  bool chunk_loaded_ = false;
  Lsn valid_page_;  // the page whose header was checked last
  bool has_valid_page_ = false;
  Lsn latest_page_;
  TimelineId latest_page_tli_ = 0;
  std::string page_problem_;
  Lsn checked_to_;

  Lsn next_;
  Lsn last_record_;  // 0 after Seek()
  std::vector<std::byte> assembled_;
  WalRecord record_;
};

// Reads one record, or throws Error(kNotRewindable) that says what there is instead.
const WalRecord& ReadRecordAt(WalReader& reader, Lsn lsn);

}  // namespace pgrejoin
