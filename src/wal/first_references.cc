#include "wal/first_references.h"

namespace pgrejoin {

void FirstReferences::Visit(const WalRecord& record) {
  if (record.rmgr >= kRmgrFirstCustom) known_ = false;
  for (const BlockReference& block : record.blocks) {
    if (block.fork != ForkNumber::kMain || !seen_.Add(block.locator, block.block)) continue;
    if (block.image_applied || block.will_init) overwritten_.Add(block.locator, block.block);
  }
}

}  // namespace pgrejoin
