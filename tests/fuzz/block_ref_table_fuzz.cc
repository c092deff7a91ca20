// The table of changed blocks against a plain set. Input: blocks a segment, then (relation, block)
// pairs, few and small enough for many thousands of inputs a second.
#include <algorithm>
#include <set>
#include <utility>

#include "fuzz/fuzz.h"
#include "wal/block_ref_table.h"

namespace pgrejoin::fuzz {
namespace {

constexpr size_t kPairsMax = 100;
constexpr uint32_t kBlocksPerSegmentMax = 1024;

std::set<BlockNumber> BlocksOf(const BlockBitmap& bitmap, BlockNumber base) {
  std::set<BlockNumber> blocks;
  uint64_t behind = 0;  // the last run
  bitmap.ForEachRun([&](BlockNumber first, BlockNumber count) {
    Require(count > 0, "a run is not empty");
    Require(blocks.empty() || first > behind, "runs ascend and do not touch");
    for (BlockNumber block = first; block < first + count; ++block) blocks.insert(base + block);
    behind = uint64_t{first} + count;
  });
  Require(blocks.size() == bitmap.Count(), "runs hold every block");
  return blocks;
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const uint32_t blocks_per_segment = input.Take<uint16_t>() % kBlocksPerSegmentMax + 1;
  BlockRefTable table(blocks_per_segment);
  std::set<std::pair<RelFileLocator, BlockNumber>> expected;
  while (!input.empty() && expected.size() < kPairsMax) {
    const RelFileLocator locator{kDefaultTablespaceOid, 5, input.Take<uint8_t>() % 4u};
    const auto block = input.Take<uint32_t>();
    table.Add(locator, block);
    expected.emplace(locator, block);
    const BlockBitmap* bitmap = table.Find({locator, block / blocks_per_segment});
    Require(bitmap != nullptr && bitmap->Test(block % blocks_per_segment),
            "what is added is found");
  }
  std::set<std::pair<RelFileLocator, BlockNumber>> found;
  for (const auto& [segment, bitmap] : table.segments()) {
    for (const BlockNumber block : BlocksOf(bitmap, segment.segment * blocks_per_segment)) {
      found.emplace(segment.locator, block);
    }
  }
  Require(found == expected && table.Count() == expected.size(), "the table is the set");
  return 0;
}
