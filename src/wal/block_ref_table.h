// Which main-fork blocks a range of WAL touches, as PostgreSQL 17's BlockRefTable
// (src/include/common/blkreftable.h) keeps it, here one bitmap for each segment file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "pgdata/file_rules.h"
#include "pgdata/types.h"

namespace pgrejoin {

class BlockBitmap {
 public:
  // false: it was set already.
  bool Set(BlockNumber block);
  bool Test(BlockNumber block) const;
  uint64_t Count() const;
  // Calls visit(first, count) for each run of set blocks, ascending.
  void ForEachRun(const std::function<void(BlockNumber first, BlockNumber count)>& visit) const;

 private:
  std::vector<uint64_t> words_;
};

class BlockRefTable {
 public:
  explicit BlockRefTable(uint32_t blocks_per_segment) : blocks_per_segment_(blocks_per_segment) {}
  BlockRefTable(BlockRefTable&&) = default;
  BlockRefTable& operator=(BlockRefTable&&) = default;

  // false: it was there already.
  bool Add(const RelFileLocator& locator, BlockNumber block);
  // nullptr: no block of this segment file is touched.
  const BlockBitmap* Find(const RelationSegment& segment) const;
  const std::map<RelationSegment, BlockBitmap>& segments() const { return segments_; }
  uint32_t blocks_per_segment() const { return blocks_per_segment_; }
  uint64_t Count() const;

 private:
  uint32_t blocks_per_segment_;
  std::map<RelationSegment, BlockBitmap> segments_;
  // WAL touches the same relation many times in a row.
  RelationSegment last_segment_;
  BlockBitmap* last_bitmap_ = nullptr;
};

}  // namespace pgrejoin
