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
  plan.kv_bytes_per_token = plan.kv_bytes / 34816;  // some of it is the short Jobs' share
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

TEST(MemoryPlan, TheContextThatItProposesFits) {
  const MemoryPlan plan = plan_of(1200, 50, 8000, 100);
  const auto refused = check_memory(plan, with(5000));
  ASSERT_FALSE(refused.ok());
  const std::string& text = refused.error().message;
  const int64_t proposed = std::stoll(text.substr(text.rfind(" to ") + 4));
  ASSERT_GT(proposed, 0);
  MemoryPlan smaller = plan;
  smaller.context_tokens_max = static_cast<int32_t>(proposed);
  smaller.kv_bytes -= (plan.context_tokens_max - proposed) * plan.kv_bytes_per_token;
  EXPECT_TRUE(check_memory(smaller, with(5000)).ok());
}

TEST(MemoryPlan, RequestsGetHalfOfWhatIsLeftWithinBounds) {
  EXPECT_EQ(default_requests_bytes(int64_t{64} << 30, 64 * kMiB), int64_t{1} << 30);
  EXPECT_EQ(default_requests_bytes(600 * kMiB, 64 * kMiB), 300 * kMiB);
  EXPECT_EQ(default_requests_bytes(10 * kMiB, 64 * kMiB), 128 * kMiB);
}

TEST(MemoryPlan, BytesAreTold) {
  EXPECT_EQ(bytes_text(0), "0.0 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text(int64_t{1277752115}), "1.19 GiB");
  EXPECT_EQ(bytes_text(int64_t{48} << 20), "48.0 MiB");
}

}  // namespace
}  // namespace quern
