// The engine's behaviour in virtual time: no thread, no clock, no sleep.
#include "engine/event_loop.h"

#include <gtest/gtest.h>

#include "engine/test_world.h"

namespace quern {
namespace {

TEST(EventLoopTest, ADeadlineIsAnsweredAtItsTimeWhileABatchRuns) {
  World world(small_config());
  const auto aboard = world.submit({20}, 0, 5'000), alone = world.submit({64}, 0);
  const auto waiting = world.submit({20}, 0, 7'000);
  EXPECT_EQ(world.step(0), 5'000);  // the nearest deadline, although the Batch is under way
  ASSERT_EQ(world.started[0].size(), 1u);
  EXPECT_EQ(world.step(5'000), 7'000);
  EXPECT_EQ(world.code(aboard[0]), ErrorCode::kDeadlineExceeded);
  EXPECT_GT(world.loop.scheduler().pool().used_count(), 0);  // the model still writes there
  EXPECT_EQ(world.step(7'000), EventLoop::kNeverUs);
  EXPECT_EQ(world.outcomes.size(), 2u);
  while (!world.started[0].empty()) {
    world.end();
    (void)world.step(60'000'000);
    (void)world.step(60'100'000);
  }
  EXPECT_TRUE(world.is_right(alone[0]));
  EXPECT_EQ(world.outcomes.size(), 3u);  // the two that expired did not end again
  EXPECT_EQ(world.loop.scheduler().pool().used_count(), 0);
  EXPECT_TRUE(world.loop.is_idle());
}

TEST(EventLoopTest, ClientsThatWaitForAnswersShareTheNextBatch) {
  World world(small_config());
  (void)world.submit(std::vector<int>(8, 2), 0);
  (void)world.step(0);
  world.end(0, 100'000);
  // The answers first: the lingering begins only when they have been given.
  EXPECT_EQ(world.step(100'000), 100'000);
  EXPECT_EQ(world.outcomes.size(), 8u);
  (void)world.submit({2}, 100'500);
  EXPECT_EQ(world.step(100'500), 103'500);  // 3% of 100 ms from here
  for (int client = 1; client < 7; ++client) (void)world.submit({2}, 100'500 + client);
  EXPECT_EQ(world.step(100'600), 103'500);
  EXPECT_TRUE(world.started[0].empty());
  (void)world.submit({2}, 101'000);  // the eighth: nobody is waited for any more
  (void)world.step(101'000);
  ASSERT_EQ(world.started[0].size(), 1u);
  EXPECT_EQ(world.started[0].front().spans.size(), 8u);
}

TEST(EventLoopTest, LingeringEndsAtItsShareAtItsCapAndAtAFullBatch) {
  struct Case {
    int64_t compute_us, lingers_us;
  };
  for (const auto& [compute_us, lingers_us] : {Case{10'000, 300}, Case{60'000'000, 5'000}}) {
    World world(small_config());
    (void)world.submit({2, 2}, 0);
    (void)world.step(0);
    world.end(0, compute_us);
    (void)world.step(1000);
    (void)world.step(1000);  // the answers are given
    (void)world.submit({2}, 1100);
    EXPECT_EQ(world.step(1100), 1000 + lingers_us);
    EXPECT_TRUE(world.started[0].empty());
    (void)world.step(1000 + lingers_us);
    EXPECT_EQ(world.started[0].size(), 1u);
  }
  World world(small_config());
  (void)world.submit(std::vector<int>(16, 2), 0);
  (void)world.step(0);
  world.end(0, 60'000'000);
  (void)world.step(1000);
  (void)world.submit({64}, 1001);  // a full Batch never waits
  (void)world.step(1001);
  EXPECT_EQ(world.started[0].size(), 1u);
}

TEST(EventLoopTest, DrainingDoesNotLinger) {
  World world(small_config());
  (void)world.submit({2, 2, 2}, 0);
  (void)world.step(0);
  world.end(0, 1'000'000);
  (void)world.step(1000);
  (void)world.submit({2}, 1001);
  world.loop.begin_drain();
  (void)world.step(1001);
  EXPECT_EQ(world.started[0].size(), 1u);
}

TEST(EventLoopTest, KeepsTwoBatchesInFlightWhereTheDeviceHasAQueue) {
  World world(small_config(2));
  const auto ids = world.submit({64, 64, 64}, 0);
  (void)world.step(0);
  ASSERT_EQ(world.started[0].size(), 2u);
  for (int64_t now = 1000; !world.started[0].empty(); now += 10'000) {
    world.end();
    (void)world.step(now);
    (void)world.step(now + 9'000);
  }
  for (uint64_t id : ids) EXPECT_TRUE(world.is_right(id));
}

TEST(EventLoopTest, UsesEveryReplica) {
  World world(small_config(), 2);
  const auto ids = world.submit({200, 60, 30, 30}, 0);
  (void)world.step(0);
  ASSERT_EQ(world.started[0].size(), 1u);
  ASSERT_EQ(world.started[1].size(), 1u);
  for (int64_t now = 10'000; !world.started[0].empty() || !world.started[1].empty(); now += 10'000) {
    for (int32_t r : {1, 0}) {  // their Batches end in any order between replicas
      if (!world.started[r].empty()) world.end(r);
    }
    (void)world.step(now);
    (void)world.step(now + 9'000);
  }
  for (uint64_t id : ids) EXPECT_TRUE(world.is_right(id));
}

TEST(EventLoopTest, AnAnswerThatDoesNotFitItsBatchFailsThatBatchAlone) {
  for (int fault = 0; fault < 5; ++fault) {
    SCOPED_TRACE(fault);
    World world(small_config());
    const auto ids = world.submit({20, 20, 100}, 0);  // the last one goes on beyond this Batch
    (void)world.step(0);
    const Batch batch = world.started[0].front();
    world.started[0].pop_front();
    BatchEnd end{batch.id, World::result_of(batch), 1000};
    if (fault == 0) end.result->vectors.pop_back();
    if (fault == 1) end.result->vectors.push_back({{1.0f}});
    if (fault == 2) end.result->batch_id += 1;
    if (fault == 3) end.batch_id += 7;
    if (fault == 4) end.result = internal_error("the model broke");
    world.loop.batch_ended(0, std::move(end));
    (void)world.step(1000);
    for (const Span& span : batch.spans) EXPECT_EQ(world.code(span.job_id), ErrorCode::kInternal);
    const auto next = world.submit({10}, 2000);
    for (int64_t now = 10'000; world.outcomes.size() < ids.size() + 1 && now < 1'000'000; now += 10'000) {
      (void)world.step(now);
      if (!world.started[0].empty()) world.end();
    }
    EXPECT_TRUE(world.is_right(next[0]));
    EXPECT_EQ(world.loop.scheduler().pool().used_count(), 0);
  }
}

TEST(EventLoopTest, AnAnswerThatNobodyWaitsForIsIgnored) {
  World world(small_config());
  world.loop.batch_ended(0, {3, internal_error("late"), 1});
  const auto ids = world.submit({10}, 0);
  (void)world.step(0);
  world.loop.batch_ended(0, {0, internal_error("of another life"), 1});
  (void)world.step(1);
  EXPECT_TRUE(world.outcomes.empty());
  world.end();
  (void)world.step(2);
  EXPECT_TRUE(world.is_right(ids[0]));
}

TEST(EventLoopTest, ALostReplicasJobsEndOnAnotherOrOnItsNextLife) {
  World world(small_config(2), 2);
  const auto ids = world.submit({300, 20, 20, 20, 300}, 0);
  (void)world.step(0);
  std::deque<Batch> lost = std::move(world.started[0]);
  world.started[0].clear();
  ASSERT_FALSE(lost.empty());
  world.loop.lose(0);
  for (Batch& batch : lost) world.loop.batch_ended(0, {batch.id, World::result_of(batch), 1});  // too late
  EXPECT_EQ(world.loop.scheduler().deaths(lost[0].spans[0].job_id), 1);
  for (int64_t now = 10'000; world.outcomes.size() < ids.size() && now < 2'000'000; now += 10'000) {
    if (now == 50'000) world.loop.restore(0);
    (void)world.step(now);
    EXPECT_TRUE(now >= 50'000 || world.started[0].empty()) << "a lost replica was given a batch";
    for (int32_t r : {0, 1}) {
      if (!world.started[r].empty()) world.end(r);
    }
  }
  for (uint64_t id : ids) EXPECT_TRUE(world.is_right(id));
  EXPECT_EQ(world.loop.scheduler().pool(0).used_count() + world.loop.scheduler().pool(1).used_count(), 0);
}

TEST(EventLoopTest, ADrainEndsWhatNoReplicaIsLeftToCompute) {
  World world(small_config(), 2);
  const auto ids = world.submit({60, 60, 300, 5}, 0);
  (void)world.step(0);
  world.loop.lose(0);
  (void)world.step(10);
  world.loop.begin_drain();
  (void)world.step(20);
  EXPECT_TRUE(world.outcomes.empty()) << "the other replica is up";
  EXPECT_EQ(world.loop.room(1, 1).error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(world.submit({1}, 20).empty());
  world.loop.lose(1);
  EXPECT_FALSE(world.loop.is_drained());
  (void)world.step(30);
  ASSERT_EQ(world.outcomes.size(), ids.size());
  for (const uint64_t id : ids) EXPECT_EQ(world.code(id), ErrorCode::kUnavailable);
  EXPECT_TRUE(world.loop.is_drained());
  EXPECT_EQ(world.loop.scheduler().pool(0).used_count() + world.loop.scheduler().pool(1).used_count(), 0);
}

TEST(EventLoopTest, CancelEndsAJobAboardAtOnceAndItsVectorIsDropped) {
  World world(small_config());
  const auto ids = world.submit({10, 10}, 0);
  (void)world.step(0);
  EndedJobs ended;
  const std::vector<uint64_t> leaving = {ids[0], ids[0], 999};
  world.loop.cancel(leaving, ended);
  world.keep(ended);
  EXPECT_EQ(world.code(ids[0]), ErrorCode::kCancelled);
  world.end();
  (void)world.step(1000);
  EXPECT_TRUE(world.is_right(ids[1]));
  EXPECT_EQ(world.outcomes.size(), 2u);
}

TEST(EventLoopTest, RoomSaysWhatSubmitSays) {
  World world(small_config());
  EXPECT_TRUE(world.loop.room(64, 4096).ok());
  const auto never = world.loop.room(1, 4097);
  EXPECT_EQ(never.error().code, ErrorCode::kPayloadTooLarge);
  EXPECT_NE(never.error().message.find("--max-queue-tokens is 4096"), std::string::npos) << never.error().message;
  const auto jobs = world.loop.room(65, 65);
  EXPECT_EQ(jobs.error().code, ErrorCode::kPayloadTooLarge);
  EXPECT_NE(jobs.error().message.find("--max-queue-jobs is 64"), std::string::npos) << jobs.error().message;
  std::vector<Job> many(65);
  for (Job& job : many) job.token_ids = {1};
  EXPECT_EQ(world.loop.submit(std::move(many), 0).error().code, ErrorCode::kPayloadTooLarge);

  // Known: 64 tokens take 1 s. Full: 4032 tokens take 63 s, the answer is at most 60.
  (void)world.submit({64}, 0);
  (void)world.step(0);
  world.end(0, 1'000'000);
  (void)world.step(1'000'000);
  (void)world.submit({512, 512, 512, 512}, 1'000'000);
  const auto later = world.loop.room(1, 2049);
  EXPECT_EQ(later.error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(later.error().retry_after_s, 32);
  EXPECT_TRUE(world.loop.room(1, 2048).ok());
}

TEST(EventLoopTest, AQueueSmallerThanOneContextIsRefusedByName) {
  EngineConfig config = small_config();
  EXPECT_TRUE(check_config(config).ok());
  config.scheduler.queue_tokens_max = 511;
  EXPECT_EQ(check_config(config).error().param, "--max-queue-tokens");
  config.scheduler.queue_tokens_max = 512;
  config.scheduler.queue_jobs_max = 0;
  EXPECT_EQ(check_config(config).error().param, "--max-queue-jobs");
}

TEST(EventLoopTest, TimesWhatHappensToAJob) {
  World world(small_config());
  const auto ids = world.submit({100}, 10);
  (void)world.step(20);
  world.end();
  (void)world.step(30);
  world.end();
  (void)world.step(40);
  EXPECT_TRUE(world.is_right(ids[0]));
  EXPECT_EQ(world.timings[ids[0]].submitted_us, 10);
  EXPECT_EQ(world.timings[ids[0]].started_us, 20);
  ASSERT_EQ(world.reports.size(), 2u);
  EXPECT_EQ(world.reports[0].batch_tokens, 64);
  EXPECT_EQ(world.reports[1].batch_tokens, 36);
}

}  // namespace
}  // namespace quern
