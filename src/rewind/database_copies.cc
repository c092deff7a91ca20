#include "rewind/database_copies.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"

namespace pgrejoin {
namespace {
constexpr uint8_t kXlogFpiForHint = 0xa0;
}  // namespace

void DatabaseCopies::Visit(const WalRecord& record, const RecordEffect& effect) {
  // A hint bit changes nothing that a copy of the page would get wrong.
  if (record.rmgr != kRmgrXlog || record.rmgr_info() != kXlogFpiForHint) {
    for (const BlockReference& block : record.blocks) {
      if (block.locator.database != 0) touched.insert(block.locator.database);
    }
  }
  if (const auto* copy = std::get_if<CreateDatabaseByCopyEffect>(&effect)) {
    copies.push_back(*copy);
  } else if (const auto* create = std::get_if<CreateRelationEffect>(&effect)) {
    touched.insert(create->locator.database);
  } else if (const auto* truncate = std::get_if<TruncateRelationEffect>(&effect)) {
    touched.insert(truncate->locator.database);
  } else if (const auto* drop = std::get_if<DropDatabaseEffect>(&effect)) {
    touched.insert(drop->database);
  }
}

void DatabaseCopies::CheckTemplatesUntouched() const {
  for (const CreateDatabaseByCopyEffect& copy : copies) {
    if (!touched.contains(copy.template_database)) continue;
    throw Error(
        ErrorKind::kNotRewindable,
        fmt::format("database {} was created by copying the files of database {}, which changed in "
                    "the range of WAL that the target would replay",
                    copy.database, copy.template_database),
        "Run CHECKPOINT on the primary and on its standbys, or clone the target anew.");
  }
}

}  // namespace pgrejoin
