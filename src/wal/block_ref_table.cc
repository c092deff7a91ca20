#include "wal/block_ref_table.h"

#include <bit>

namespace pgrejoin {
namespace {
constexpr BlockNumber kWordBits = 64;
}  // namespace

bool BlockBitmap::Set(BlockNumber block) {
  const size_t word = block / kWordBits;
  if (word >= words_.size()) words_.resize(word + 1);
  const uint64_t bit = uint64_t{1} << (block % kWordBits);
  const bool was_set = (words_[word] & bit) != 0;
  words_[word] |= bit;
  return !was_set;
}

bool BlockBitmap::Test(BlockNumber block) const {
  const size_t word = block / kWordBits;
  return word < words_.size() && (words_[word] >> (block % kWordBits) & 1) != 0;
}

uint64_t BlockBitmap::Count() const {
  uint64_t count = 0;
  for (const uint64_t word : words_) count += static_cast<uint64_t>(std::popcount(word));
  return count;
}

void BlockBitmap::ForEachRun(
    const std::function<void(BlockNumber first, BlockNumber count)>& visit) const {
  BlockNumber run_start = 0;
  BlockNumber run_length = 0;
  for (size_t index = 0; index < words_.size(); ++index) {
    uint64_t word = words_[index];
    const auto base = static_cast<BlockNumber>(index * kWordBits);
    while (word != 0) {
      const auto bit = static_cast<BlockNumber>(std::countr_zero(word));
      const auto length = static_cast<BlockNumber>(std::countr_one(word >> bit));
      if (run_length > 0 && run_start + run_length == base + bit) {
        run_length += length;
      } else {
        if (run_length > 0) visit(run_start, run_length);
        run_start = base + bit;
        run_length = length;
      }
      if (bit + length >= kWordBits) break;
      word &= ~uint64_t{0} << (bit + length);
    }
  }
  if (run_length > 0) visit(run_start, run_length);
}

bool BlockRefTable::Add(const RelFileLocator& locator, BlockNumber block) {
  const RelationSegment segment{locator, block / blocks_per_segment_};
  if (last_bitmap_ == nullptr || segment != last_segment_) {
    last_bitmap_ = &segments_[segment];
    last_segment_ = segment;
  }
  return last_bitmap_->Set(block % blocks_per_segment_);
}

const BlockBitmap* BlockRefTable::Find(const RelationSegment& segment) const {
  const auto found = segments_.find(segment);
  return found == segments_.end() ? nullptr : &found->second;
}

uint64_t BlockRefTable::Count() const {
  uint64_t count = 0;
  for (const auto& [segment, bitmap] : segments_) count += bitmap.Count();
  return count;
}

}  // namespace pgrejoin
