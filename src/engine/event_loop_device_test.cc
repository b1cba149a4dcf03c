// What the engine does for a device of its own: small batches while queries come, and a device that is lost.
#include <gtest/gtest.h>

#include <set>

#include "engine/test_world.h"

namespace quern {
namespace {

TEST(EventLoopDeviceTest, WhileQueriesComeBatchesAreSmallAndOneAtATime) {
  EngineConfig config = small_config(2);
  config.scheduler.brief_tokens_max = 4;
  config.scheduler.brief_batch_tokens_max = 24;
  config.scheduler.brief_hold_us = 1'000;
  config.linger_share = 0;
  World world(config);
  ASSERT_FALSE(world.submit({10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10}, 0).empty());
  (void)world.step(0);
  ASSERT_EQ(world.started[0].size(), 2u);
  EXPECT_EQ(world.started[0][0].token_ids.size(), 60u);
  const auto query = world.submit({4}, 100);
  world.end();
  (void)world.step(100);
  EXPECT_EQ(world.started[0].size(), 1u) << "no Batch behind the one under way";
  world.end();
  (void)world.step(200);
  ASSERT_EQ(world.started[0].size(), 1u);
  EXPECT_EQ(world.started[0][0].token_ids.size(), 24u);
  EXPECT_EQ(world.started[0][0].spans[0].job_id, query[0]) << "it ranks before what waits longer";
  world.end();
  (void)world.step(300);
  EXPECT_TRUE(world.is_right(query[0]));
  EXPECT_EQ(world.started[0][0].token_ids.size(), 24u) << "filled with a part of a Job";
  (void)world.step(1'100);  // the second is over
  ASSERT_EQ(world.started[0].size(), 2u);
  EXPECT_GT(world.started[0][1].token_ids.size(), 24u);
}

TEST(EventLoopDeviceTest, AReplicaThatSaysItIsLostFailsItsBatchAndGivesTheRestToOthers) {
  World world(small_config(2), 2);
  const auto ids = world.submit({60, 60, 20, 20, 20, 20, 60, 60}, 0);
  (void)world.step(0);
  ASSERT_EQ(world.started[0].size(), 2u);
  world.loop.batch_ended(0, {world.started[0][0].id, internal_error("the device is gone"), 1, true});
  world.loop.batch_ended(0, {world.started[0][1].id, internal_error("the device is gone"), 1, true});
  std::set<uint64_t> failed;
  for (const Span& span : world.started[0][0].spans) failed.insert(span.job_id);
  world.started[0].clear();
  for (int64_t now = 10; world.outcomes.size() < ids.size() && now < 1'000; now += 10) {
    (void)world.step(now);
    EXPECT_TRUE(world.started[0].empty()) << "a lost replica was given a batch";
    if (!world.started[1].empty()) world.end(1);
  }
  for (const uint64_t id : ids) {
    if (failed.contains(id)) {
      EXPECT_EQ(world.code(id), ErrorCode::kInternal);
    } else {
      EXPECT_TRUE(world.is_right(id));
    }
  }
  EXPECT_TRUE(world.reports.front().is_lost);
  EXPECT_TRUE(world.loop.room(1, 1).ok());
}

TEST(EventLoopDeviceTest, WithoutAnyReplicaLeftEveryJobEndsAndNoneIsTakenUntilOneIsRestored) {
  World world(small_config());
  const auto ids = world.submit({60, 60, 300}, 0);
  (void)world.step(0);
  world.loop.batch_ended(0, {world.started[0][0].id, internal_error("the device is gone"), 1, true});
  world.started[0].clear();
  (void)world.step(1);
  (void)world.step(2);
  ASSERT_EQ(world.outcomes.size(), ids.size());
  EXPECT_EQ(world.loop.room(0, 0).error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(world.submit({1}, 3).empty());
  world.loop.restore(0);
  EXPECT_TRUE(world.loop.room(0, 0).ok());
  const auto more = world.submit({5}, 4);
  ASSERT_EQ(more.size(), 1u);
  (void)world.step(4);
  world.end();
  (void)world.step(5);
  EXPECT_TRUE(world.is_right(more[0]));
}

}  // namespace
}  // namespace quern
