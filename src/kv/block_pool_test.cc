#include "kv/block_pool.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace quern {
namespace {

TEST(BlockPoolTest, AllocatesAllOrNothing) {
  BlockPool pool(4);
  std::vector<int32_t> blocks;
  EXPECT_TRUE(pool.allocate(3, blocks));
  EXPECT_FALSE(pool.allocate(2, blocks));
  EXPECT_EQ(blocks.size(), 3u);
  EXPECT_EQ(pool.free_count(), 1);
}

TEST(BlockPoolTest, ReusesTheLastReleasedBlockFirst) {
  BlockPool pool(100);
  std::vector<int32_t> first, second;
  ASSERT_TRUE(pool.allocate(5, first));
  pool.release(first);
  ASSERT_TRUE(pool.allocate(5, second));
  EXPECT_EQ(first, second);  // so that a lightly loaded server touches few pages
}

TEST(BlockPoolTest, ConservesBlocksUnderRandomUse) {
  std::mt19937 random(7);
  BlockPool pool(64);
  std::vector<std::vector<int32_t>> held;
  std::set<int32_t> owned;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      std::vector<int32_t> blocks;
      const auto count = static_cast<int32_t>(random() % 9);
      const bool fits = count <= pool.free_count();
      ASSERT_EQ(pool.allocate(count, blocks), fits);
      for (int32_t id : blocks) ASSERT_TRUE(owned.insert(id).second) << "block " << id << " handed out twice";
      if (fits) held.push_back(blocks);
    } else if (!held.empty()) {
      const size_t index = random() % held.size();
      pool.release(held[index]);
      for (int32_t id : held[index]) owned.erase(id);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(index));
    }
    ASSERT_EQ(pool.used_count(), static_cast<int32_t>(owned.size()));
  }
}

TEST(BlockPoolDeathTest, DoubleReleaseAborts) {
  BlockPool pool(2);
  std::vector<int32_t> blocks;
  ASSERT_TRUE(pool.allocate(1, blocks));
  pool.release(blocks);
  EXPECT_DEATH(pool.release(blocks), "released twice");
}

}  // namespace
}  // namespace quern
