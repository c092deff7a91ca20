// CREATE DATABASE by file copy is replayed by copying the template as it is *then*, so it is only
// right while the template stays as it was (docs/explanation/safety.md, "databases copied by
// file").
#pragma once

#include <set>
#include <vector>

#include "wal/record_effects.h"
#include "wal/wal_record.h"

namespace pgrejoin {

struct DatabaseCopies {
  std::vector<CreateDatabaseByCopyEffect> copies;
  std::set<Oid> touched;  // databases with changes other than hint bits

  void Visit(const WalRecord& record, const RecordEffect& effect);
  // Throws Error(kNotRewindable) when a template was changed in the range that was visited.
  void CheckTemplatesUntouched() const;
};

}  // namespace pgrejoin
