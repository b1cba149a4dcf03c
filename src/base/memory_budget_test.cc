#include "base/memory_budget.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

namespace quern {
namespace {

TEST(MemoryBudget, GrantsUpToItsLimitAndTakesBack) {
  MemoryBudget budget(100);
  MemoryBudget::Lease a(budget), b(budget);
  EXPECT_TRUE(a.resize(60));
  EXPECT_FALSE(b.resize(41));
  EXPECT_EQ(b.bytes(), 0);
  EXPECT_TRUE(b.resize(40));
  EXPECT_FALSE(a.grow(1));
  EXPECT_EQ(budget.used_bytes(), 100);
  EXPECT_TRUE(a.resize(10));
  MemoryBudget::Lease moved = std::move(b);
  EXPECT_EQ(budget.used_bytes(), 50);
  { MemoryBudget::Lease gone = std::move(moved); }
  EXPECT_EQ(budget.used_bytes(), 10);
  EXPECT_FALSE(a.grow(INT64_MAX - 10));  // no overflow
}

TEST(MemoryBudget, ThreadsNeverExceedItAndGiveAllBack) {
  MemoryBudget budget(1000);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&budget, kMax = budget.bytes_max(), t] {
      std::mt19937 random(t);
      for (int i = 0; i < 20000; ++i) {
        MemoryBudget::Lease lease(budget);
        (void)lease.resize(static_cast<int64_t>(random() % 600));
        ASSERT_LE(budget.used_bytes(), kMax);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.used_bytes(), 0);
}

}  // namespace
}  // namespace quern
