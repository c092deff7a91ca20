#include "wal/first_references.h"

#include <gtest/gtest.h>

namespace pgrejoin {
namespace {

constexpr RelFileLocator kRelation{1663, 5, 16384};
constexpr uint32_t kBlocksPerSegment = 131072;

class FirstReferencesTest : public ::testing::Test {
 protected:
  static BlockReference Block(BlockNumber number) {
    BlockReference block;
    block.locator = kRelation;
    block.block = number;
    return block;
  }
  static BlockReference Image(BlockNumber number, bool applied = true) {
    BlockReference block = Block(number);
    block.has_image = true;
    block.image_applied = applied;
    return block;
  }
  static BlockReference Init(BlockNumber number) {
    BlockReference block = Block(number);
    block.will_init = true;
    return block;
  }
  void Visit(std::vector<BlockReference> blocks, uint8_t rmgr = 10) {
    WalRecord record;
    record.rmgr = rmgr;
    record.blocks = std::move(blocks);
    references_.Visit(record);
  }
  static bool In(const BlockRefTable& table, BlockNumber number) {
    const BlockBitmap* bitmap = table.Find({kRelation, number / kBlocksPerSegment});
    return bitmap != nullptr && bitmap->Test(number % kBlocksPerSegment);
  }
  bool Overwritten(BlockNumber number) const {
    EXPECT_TRUE(In(references_.seen(), number));
    return In(references_.overwritten(), number);
  }

  FirstReferences references_{kBlocksPerSegment};
};

TEST_F(FirstReferencesTest, TheFirstOneCounts) {
  Visit({Image(1), Block(2), Init(3)});
  Visit({Block(1), Image(2), Block(3)});
  EXPECT_TRUE(Overwritten(1));
  EXPECT_FALSE(Overwritten(2));
  EXPECT_TRUE(Overwritten(3));
  EXPECT_FALSE(In(references_.seen(), 4));
}

TEST_F(FirstReferencesTest, AnImageForAConsistencyCheckOverwritesNothing) {
  Visit({Image(1, /*applied=*/false)});
  Visit({Image(1)});
  EXPECT_FALSE(Overwritten(1));
}

TEST_F(FirstReferencesTest, OtherForksAreNotCounted) {
  BlockReference map = Image(7);
  map.fork = ForkNumber::kVisibilityMap;
  Visit({map});
  EXPECT_FALSE(In(references_.seen(), 7));
}

TEST_F(FirstReferencesTest, LaterSegments) {
  Visit({Init(kBlocksPerSegment + 5)});
  EXPECT_TRUE(Overwritten(kBlocksPerSegment + 5));
  EXPECT_FALSE(In(references_.seen(), 5));
}

TEST_F(FirstReferencesTest, AnExtensionMayReadAnything) {
  Visit({Image(1)});
  EXPECT_TRUE(references_.known());
  Visit({}, kRmgrFirstCustom);
  EXPECT_FALSE(references_.known());
}

}  // namespace
}  // namespace pgrejoin
