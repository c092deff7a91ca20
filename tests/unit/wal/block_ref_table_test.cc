#include "wal/block_ref_table.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace pgrejoin {
namespace {

using RunPair = std::pair<BlockNumber, BlockNumber>;

std::vector<RunPair> Runs(const BlockBitmap& bitmap) {
  std::vector<RunPair> runs;
  bitmap.ForEachRun([&](BlockNumber first, BlockNumber count) { runs.emplace_back(first, count); });
  return runs;
}

TEST(BlockBitmap, EmptyHasNoRuns) {
  EXPECT_TRUE(Runs(BlockBitmap()).empty());
  EXPECT_EQ(BlockBitmap().Count(), 0u);
  EXPECT_FALSE(BlockBitmap().Test(0));
}

TEST(BlockBitmap, RunsCrossWords) {
  BlockBitmap bitmap;
  for (BlockNumber block = 60; block < 200; ++block) bitmap.Set(block);
  bitmap.Set(0);
  bitmap.Set(63 + 256);
  EXPECT_EQ(Runs(bitmap), (std::vector<RunPair>{{0, 1}, {60, 140}, {319, 1}}));
  EXPECT_EQ(bitmap.Count(), 142u);
}

TEST(BlockBitmap, FullWords) {
  BlockBitmap bitmap;
  for (BlockNumber block = 64; block < 192; ++block) bitmap.Set(block);
  EXPECT_EQ(Runs(bitmap), (std::vector<RunPair>{{64, 128}}));
  bitmap.Set(64);
  EXPECT_EQ(bitmap.Count(), 128u);
}

// Runs and single tests must tell the same, whatever the pattern.
TEST(BlockBitmap, RunsAreExactlyTheSetBlocks) {
  uint32_t random = 1;
  for (int round = 0; round < 300; ++round) {
    BlockBitmap bitmap;
    std::vector<bool> expected(1000);
    for (int i = 0; i < round * 3; ++i) {
      random = random * 1664525 + 1013904223;
      const BlockNumber block = (random >> 10) % 1000;
      bitmap.Set(block);
      expected[block] = true;
    }
    std::vector<bool> seen(1000);
    BlockNumber last_end = 0;
    bool first_run = true;
    for (const auto& [first, count] : Runs(bitmap)) {
      EXPECT_GT(count, 0u);
      if (!first_run) {
        EXPECT_GT(first, last_end) << "runs that touch should be one";
      }
      for (BlockNumber block = first; block < first + count; ++block) seen[block] = true;
      last_end = first + count;
      first_run = false;
    }
    EXPECT_EQ(seen, expected);
  }
}

TEST(BlockRefTable, SplitsBySegment) {
  BlockRefTable table(131072);
  const RelFileLocator relation{1663, 5, 16384};
  table.Add(relation, 0);
  table.Add(relation, 131071);
  table.Add(relation, 131072);
  table.Add(relation, 0xfffffffe);
  table.Add({1663, 5, 16385}, 1);
  EXPECT_EQ(table.Count(), 5u);
  ASSERT_NE(table.Find({relation, 0}), nullptr);
  EXPECT_EQ(Runs(*table.Find({relation, 0})), (std::vector<RunPair>{{0, 1}, {131071, 1}}));
  EXPECT_EQ(Runs(*table.Find({relation, 1})), (std::vector<RunPair>{{0, 1}}));
  EXPECT_EQ(Runs(*table.Find({relation, 0xfffffffe / 131072})),
            (std::vector<RunPair>{{0xfffffffe % 131072, 1}}));
  EXPECT_EQ(table.Find({relation, 2}), nullptr);
  EXPECT_EQ(table.Find({{1664, 0, 16384}, 0}), nullptr);
}

TEST(BlockRefTable, KeepsWorkingAfterAMove) {
  BlockRefTable table(16);
  table.Add({1663, 5, 1}, 3);
  BlockRefTable moved = std::move(table);
  moved.Add({1663, 5, 1}, 4);
  EXPECT_EQ(moved.Count(), 2u);
}

}  // namespace
}  // namespace pgrejoin
