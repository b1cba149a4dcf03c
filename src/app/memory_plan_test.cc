#include "app/memory_plan.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

constexpr int64_t kMiB = 1 << 20;

MemoryPlan plan_of(int64_t weights, int64_t activations, int64_t kv, int64_t requests) {
  MemoryPlan plan;
  plan.weights_bytes = weights * kMiB;
  plan.activations_bytes = activations * kMiB;
  plan.kv_bytes = kv * kMiB;
  plan.requests_bytes = requests * kMiB;
  plan.context_tokens_max = 32768;
  plan.batch_tokens_max = 1024;
  plan.requests_bytes_min = 140 * kMiB;
  plan.block_tokens = 16;
  plan.kv_bytes_per_block = plan.kv_bytes / 2624;  // some of it is the short Jobs' share
  return plan;
}
MachineLimits with(int64_t available) { return {2, available * kMiB, "MemAvailable"}; }

TEST(MemoryPlan, WhatFitsIsTaken) {
  EXPECT_TRUE(check_memory(plan_of(1200, 50, 4000, 1000), with(6250)).ok());
  EXPECT_FALSE(check_memory(plan_of(1200, 50, 4000, 1000), with(6249)).ok());
}

TEST(MemoryPlan, TooMuchNamesTheFlagToLower) {
  EXPECT_EQ(check_memory(plan_of(9000, 50, 100, 100), with(8000)).error().param, "--dtype");
  EXPECT_EQ(check_memory(plan_of(7900, 200, 100, 100), with(8000)).error().param, "--max-batch-tokens");
  EXPECT_EQ(check_memory(plan_of(1200, 50, 8000, 1000), with(8000)).error().param, "--context-length");
  EXPECT_EQ(check_memory(plan_of(1200, 50, 100, 1000), with(2000)).error().param, "--max-buffered-bytes");
}

TEST(MemoryPlan, WhatItProposesFits) {
  int proposals = 0;
  for (int64_t kv = 1; kv <= 8000; kv = kv * 3 + 7) {
    for (const int64_t requests : {0, 150, 1000, 4000}) {
      const MemoryPlan plan = plan_of(1200, 50, kv, requests);
      for (int64_t have = 1260; have < 13250; have += 97) {
        const auto refused = check_memory(plan, with(have));
        if (refused) continue;
        const std::string& text = refused.error().message;
        const size_t to = text.rfind(" to ");
        if (text.find(" from ") == std::string::npos || to == std::string::npos) continue;  // names flags alone
        ++proposals;
        const int64_t proposed = std::stoll(text.substr(to + 4));
        MemoryPlan smaller = plan;
        if (refused.error().param == "--context-length") {
          ASSERT_GT(proposed, 0);
          ASSERT_LT(proposed, plan.context_tokens_max);
          smaller.kv_bytes -= (plan.context_tokens_max - proposed) / plan.block_tokens * plan.kv_bytes_per_block;
        } else {
          ASSERT_EQ(refused.error().param, "--max-buffered-bytes");
          ASSERT_GE(proposed, plan.requests_bytes_min);
          smaller.requests_bytes = proposed;
        }
        EXPECT_TRUE(check_memory(smaller, with(have)).ok()) << text;
      }
    }
  }
  EXPECT_GT(proposals, 300);
}

TEST(MemoryPlan, RequestsGetHalfOfWhatIsLeftWithinBounds) {
  EXPECT_EQ(default_requests_bytes(int64_t{64} << 30, 200 * kMiB), int64_t{1} << 30);
  EXPECT_EQ(default_requests_bytes(600 * kMiB, 200 * kMiB), 300 * kMiB);
  for (const int64_t least : {int64_t{1}, 200 * kMiB, int64_t{1} << 31, int64_t{1} << 42}) {
    for (const int64_t left : {-1000 * kMiB, int64_t{0}, 200 * kMiB, int64_t{1} << 40})
      EXPECT_GE(default_requests_bytes(left, least), least);
  }
}

TEST(MemoryPlan, BytesAreTold) {
  EXPECT_EQ(bytes_text(0), "0.0 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text(int64_t{1277752115}), "1.19 GiB");
  EXPECT_EQ(bytes_text(int64_t{48} << 20), "48.0 MiB");
}

}  // namespace
}  // namespace quern
