// What replay of a range of WAL does first to each main-fork block: overwrite it whole, by an image
// or an initialisation, or read what is on disk. Of a block that is overwritten first it does not
// matter what is on disk (docs/explanation/safety.md, "What replay writes anyway").
#pragma once

#include "wal/block_ref_table.h"
#include "wal/wal_record.h"

namespace pgrejoin {

class FirstReferences {
 public:
  explicit FirstReferences(uint32_t blocks_per_segment)
      : seen_(blocks_per_segment), overwritten_(blocks_per_segment) {}

  // Records in the order of replay.
  void Visit(const WalRecord& record);

  // Blocks that the range names at all, and those of them that it overwrites first.
  const BlockRefTable& seen() const { return seen_; }
  const BlockRefTable& overwritten() const { return overwritten_; }
  // false: an extension's resource manager took part, whose replay may read any page.
  bool known() const { return known_; }

  // For a journal that is read.
  void AddSeen(const RelFileLocator& locator, BlockNumber block) { seen_.Add(locator, block); }
  void AddOverwritten(const RelFileLocator& locator, BlockNumber block) {
    overwritten_.Add(locator, block);
  }
  void SetUnknown() { known_ = false; }

 private:
  BlockRefTable seen_;
  BlockRefTable overwritten_;
  bool known_ = true;
};

}  // namespace pgrejoin
