// backup_label: where replay of a copied directory begins. Read by read_backup_label() in
// src/backend/access/transam/xlogrecovery.c; written here with BACKUP METHOD "streamed", because
// then a directory that lost its standby.signal refuses to start instead of opening read-write
// (docs/explanation/safety.md), and with our own LABEL, so that it is known again.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "pgdata/types.h"

namespace pgrejoin {

inline constexpr const char* kBackupLabelPath = "backup_label";

struct BackupLabel {
  Lsn start;                // redo position
  TimelineId timeline = 0;  // of the start position
  Lsn checkpoint;
  bool ours = false;

  // nullopt when malformed.
  static std::optional<BackupLabel> Parse(std::string_view text);
  std::string ToString(uint32_t wal_segment_size) const;
};

}  // namespace pgrejoin
