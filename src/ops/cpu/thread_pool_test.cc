// The compute threads: every task once, and a task that throws ends its round alone.
#include "ops/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

namespace quern {
namespace {

TEST(ThreadPoolTest, EveryTaskRunsOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads, [] {});
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> calls(count);
      pool.run(count, [&](int64_t i, int thread) {
        EXPECT_LT(thread, threads);
        ++calls[i];
      });
      for (const auto& times : calls) EXPECT_EQ(times, 1);
    }
  }
}

TEST(ThreadPoolTest, TheFirstExceptionComesOutWhenAllThreadsHaveLeft) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads, [] {});
    for (int64_t bad = 0; bad < 200; ++bad) {
      std::atomic<int> inside = 0, wrong = 0;
      // From `bad` on every task throws, so that several threads do at once.
      const auto task = [&](int64_t i, int) {
        ++inside;
        if (i > bad + 3 * threads) ++wrong;  // begun long after the first exception
        --inside;
        if (i >= bad) throw std::runtime_error("task");
      };
      EXPECT_THROW(pool.run(200, task), std::runtime_error);
      EXPECT_EQ(inside, 0);
      EXPECT_EQ(wrong, 0);
      std::atomic<int> done = 0;  // and the next round is whole
      pool.run(50, [&](int64_t, int) { ++done; });
      ASSERT_EQ(done, 50);
    }
  }
}

}  // namespace
}  // namespace quern
