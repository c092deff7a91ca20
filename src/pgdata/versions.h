// What differs between the supported majors, one row each. Sources: PG_CONTROL_VERSION and the
// struct in src/include/catalog/pg_control.h, CATALOG_VERSION_NO in catversion.h, XLOG_PAGE_MAGIC
// in xlog_internal.h, image flags in xlogrecord.h, DBASE records in commands/dbcommands_xlog.h;
// checked against live servers by tests/postgres.
//
// 14, 15 and 16 share a control version, so the catalog version chooses the row.
#pragma once

#include <array>
#include <cstdint>

namespace pgrejoin {

struct PgVersion {
  unsigned major;
  uint32_t control_version;
  uint32_t catalog_version;
  uint16_t wal_page_magic;
  uint16_t control_crc_offset;
  // Flag bits of a full-page image (bimg_info).
  uint8_t image_has_hole;
  uint8_t image_apply;
  uint8_t image_compressed;  // any of these
  uint8_t image_known;       // all that are defined
  // DBASE resource manager: info of each record kind. create_wal_log is 0xff where it is unknown.
  uint8_t dbase_create_file_copy;
  uint8_t dbase_create_wal_log;
  uint8_t dbase_drop;
  bool custom_rmgrs;  // ids 128 to 255 may occur
};

inline constexpr std::array<PgVersion, 5> kPgVersions = {{
    {14, 1300, 202107181, 0xD10D, 288, 0x01, 0x04, 0x02, 0x07, 0x00, 0xff, 0x10, false},
    {15, 1300, 202209061, 0xD110, 288, 0x01, 0x02, 0x1c, 0x1f, 0x00, 0x10, 0x20, true},
    {16, 1300, 202307071, 0xD113, 288, 0x01, 0x02, 0x1c, 0x1f, 0x00, 0x10, 0x20, true},
    {17, 1700, 202406281, 0xD116, 288, 0x01, 0x02, 0x1c, 0x1f, 0x00, 0x10, 0x20, true},
    {18, 1800, 202506291, 0xD118, 292, 0x01, 0x02, 0x1c, 0x1f, 0x00, 0x10, 0x20, true},
}};

// nullptr: no supported major has this catalog version.
constexpr const PgVersion* FindPgVersion(uint32_t catalog_version) {
  for (const PgVersion& version : kPgVersions) {
    if (version.catalog_version == catalog_version) return &version;
  }
  return nullptr;
}

}  // namespace pgrejoin
