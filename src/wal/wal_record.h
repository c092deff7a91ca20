// One WAL record: src/include/access/xlogrecord.h, docs/explanation/formats.md.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "pgdata/types.h"
#include "pgdata/versions.h"

namespace pgrejoin {

// Built-in resource managers whose records this program looks into (src/include/access/rmgrlist.h).
enum RmgrId : uint8_t {
  kRmgrXlog = 0,
  kRmgrXact = 1,
  kRmgrSmgr = 2,
  kRmgrDbase = 4,
  kRmgrTablespace = 5,
  kRmgrLastBuiltin = 21,
  kRmgrFirstCustom = 128,
};

inline constexpr size_t kWalRecordHeaderBytes = 24;

struct BlockReference {
  RelFileLocator locator;
  ForkNumber fork = ForkNumber::kMain;
  BlockNumber block = 0;
  bool has_image = false;
  bool image_applied = false;  // replay restores the image; false for consistency checks
  bool will_init = false;
};

struct WalRecord {
  Lsn start;
  Lsn end;   // where the next record begins, before any page header there
  Lsn prev;  // start of the record before
  uint32_t crc = 0;
  TransactionId xid = 0;
  uint8_t rmgr = 0;
  uint8_t info = 0;  // all bits; the high nibble belongs to the resource manager
  Bytes main_data;   // valid until the reader moves on
  std::vector<BlockReference> blocks;

  uint8_t rmgr_info() const { return info & 0xf0; }
};

// Decodes block references and main data of a whole record whose CRC was checked. Bytes that do not
// add up throw Error(kNotRewindable): a record is understood completely or not at all.
// start, end are left alone.
void DecodeWalRecord(Bytes record, const PgVersion& version, WalRecord* out);

}  // namespace pgrejoin
