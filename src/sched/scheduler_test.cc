#include "sched/scheduler.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>

#include "core/job.h"

namespace quern {
namespace {

class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() {
    config_.batch_tokens_max = 100;
    config_.batch_spans_max = 8;
    config_.context_tokens_max = 1000;
    config_.queue_tokens_max = 5000;
    config_.queue_jobs_max = 50;
  }

  SchedulerJob job(uint64_t id, int32_t tokens, int64_t deadline_us = kNoDeadline, int32_t priority = 0) {
    tokens_.emplace_back(static_cast<size_t>(tokens), static_cast<int32_t>(id));
    return {id, &tokens_.back(), deadline_us, priority};
  }
  static std::vector<uint64_t> ids(const Batch& batch) {
    std::vector<uint64_t> out;
    for (const Span& span : batch.spans) out.push_back(span.job_id);
    return out;
  }

  /// The Jobs that have ended with this Batch.
  static std::vector<uint64_t> finish(Scheduler& scheduler, const Batch& batch, int32_t replica = 0) {
    std::vector<uint64_t> out;
    for (const EndedSpan& span : scheduler.finish_batch(replica, batch.id)) {
      if (span.is_last && span.is_live) out.push_back(span.job_id);
    }
    return out;
  }

  SchedulerConfig config_;
  std::deque<std::vector<int32_t>> tokens_;
};

using Ids = std::vector<uint64_t>;

TEST_F(SchedulerTest, BatchesShortJobsTogetherInArrivalOrder) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 10), job(2, 20)}, 0).ok());
  ASSERT_TRUE(scheduler.admit({job(3, 5)}, 1).ok());
  const auto batch = scheduler.next_batch(0);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(ids(*batch), (Ids{1, 2, 3}));
  EXPECT_EQ(batch->token_ids.size(), 35u);
  EXPECT_EQ(batch->spans[2].token_begin, 30);
  EXPECT_TRUE(batch->spans[2].is_last);
  EXPECT_EQ(finish(scheduler, *batch), (Ids{1, 2, 3}));
  EXPECT_EQ(scheduler.live_jobs(), 0);
  EXPECT_EQ(scheduler.pool().used_count(), 0);
}

TEST_F(SchedulerTest, WaitsForTheBatchUnderWay) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 50), job(2, 50), job(3, 50)}, 0).ok());
  const auto first = scheduler.next_batch(0);
  EXPECT_EQ(ids(*first), (Ids{1, 2}));
  EXPECT_FALSE(scheduler.next_batch(0).has_value());
  (void)finish(scheduler, *first);
  EXPECT_EQ(ids(*scheduler.next_batch(0)), (Ids{3}));
}

TEST_F(SchedulerTest, FeedsALongJobInChunksWithGrowingPageTables) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 250)}, 0).ok());
  int32_t position = 0;
  for (int32_t expected : {100, 100, 50}) {
    const auto batch = scheduler.next_batch(0);
    ASSERT_EQ(batch->spans.size(), 1u);
    EXPECT_EQ(batch->spans[0].position_begin, position);
    EXPECT_EQ(batch->spans[0].token_count, expected);
    position += expected;
    EXPECT_EQ(batch->spans[0].block_count, blocks_for_tokens(position, config_.block_tokens));
    EXPECT_EQ(batch->spans[0].is_last, position == 250);
    EXPECT_EQ(finish(scheduler, *batch), position == 250 ? Ids{1} : Ids{});
  }
}

TEST_F(SchedulerTest, LongJobsTakeHalfAStepWhileShortOnesWait) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 400)}, 0).ok());
  for (uint64_t id = 2; id < 12; ++id) ASSERT_TRUE(scheduler.admit({job(id, 10)}, 1).ok());
  const auto batch = scheduler.next_batch(0);
  EXPECT_EQ(ids(*batch), (Ids{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(batch->spans[0].token_count, 50);
}

TEST_F(SchedulerTest, LongJobsUseWhatFewShortOnesLeave) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 400), job(2, 10)}, 0).ok());
  const auto batch = scheduler.next_batch(0);
  EXPECT_EQ(batch->spans[0].token_count, 90);
  EXPECT_EQ(batch->token_ids.size(), 100u);
}

TEST_F(SchedulerTest, SecondFullContextJobWaitsForBlocksWhileShortOnesPass) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 1000), job(2, 1000), job(3, 10)}, 0).ok());
  const auto batch = scheduler.next_batch(0);
  EXPECT_EQ(ids(*batch), (Ids{1, 3}));
}

TEST_F(SchedulerTest, PriorityAdvancesAJobByABoundedTime) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 50)}, 0).ok());
  ASSERT_TRUE(scheduler.admit({job(2, 50)}, 500'000).ok());
  ASSERT_TRUE(scheduler.admit({job(3, 50, kNoDeadline, 1)}, 900'000).ok());
  EXPECT_EQ(ids(*scheduler.next_batch(0)), (Ids{3, 1}));  // 3 ranks as if it had come 1 s earlier
}

TEST_F(SchedulerTest, AdmissionIsAllOrNothingAndNamesTheLimit) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 900), job(2, 900), job(3, 900), job(4, 900), job(5, 900)}, 0).ok());
  const auto refused = scheduler.admit({job(6, 10), job(7, 800)}, 0);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kOverloaded);
  EXPECT_NE(refused.error().message.find("--max-queue-tokens is 5000"), std::string::npos) << refused.error().message;
  EXPECT_EQ(scheduler.live_jobs(), 5);
  const auto too_long = scheduler.admit({job(8, 1001)}, 0);
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code, ErrorCode::kInvalidArgument);
}

TEST_F(SchedulerTest, LimitsTheNumberOfJobs) {
  Scheduler scheduler(config_);
  for (uint64_t id = 1; id <= 50; ++id) ASSERT_TRUE(scheduler.admit({job(id, 1)}, 0).ok());
  EXPECT_EQ(scheduler.admit({job(51, 1)}, 0).error().code, ErrorCode::kOverloaded);
}

TEST_F(SchedulerTest, ExpiresAtTheDeadlineAndNotBefore) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 10, 1000), job(2, 10, 2000)}, 0).ok());
  EXPECT_EQ(scheduler.nearest_deadline_us(), 1000);
  EXPECT_FALSE(scheduler.next_expired(999).has_value());
  EXPECT_EQ(scheduler.next_expired(1000), 1u);
  EXPECT_FALSE(scheduler.next_expired(1000).has_value());
  EXPECT_EQ(ids(*scheduler.next_batch(0)), (Ids{2}));
}

TEST_F(SchedulerTest, CancelAboardABatchGivesItsBlocksToTheNextOnes) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 300), job(2, 10)}, 0).ok());
  const auto batch = scheduler.next_batch(0);
  EXPECT_TRUE(scheduler.cancel(1));
  EXPECT_FALSE(scheduler.cancel(1));
  EXPECT_EQ(scheduler.pool().used_count(), 0);
  EXPECT_EQ(finish(scheduler, *batch), (Ids{2}));
  EXPECT_EQ(scheduler.pool().used_count(), 0);
  EXPECT_FALSE(scheduler.next_batch(0).has_value());
  EXPECT_EQ(scheduler.queued_tokens(), 0);
}

/// Steps until the last token of `job_id` goes aboard, with short Jobs that always want the whole Batch.
int steps_until_aboard(Scheduler& scheduler, const std::vector<int32_t>& short_ids, uint64_t job_id) {
  uint64_t next_id = 1'000'000;
  for (int step = 1; step < 1000; ++step) {
    for (int i = 0; i < 40; ++i) (void)scheduler.admit({{next_id++, &short_ids, kNoDeadline, 0}}, 0);
    const auto batch = scheduler.next_batch(0);
    bool is_aboard = false;
    for (const Span& span : batch->spans) is_aboard |= span.job_id == job_id && span.is_last;
    (void)scheduler.finish_batch(0, batch->id);
    if (is_aboard) return step;
  }
  return -1;
}

TEST_F(SchedulerTest, AJobJustBeyondTheShortOnesDoesNotWaitForAFullContext) {
  SchedulerConfig config;
  config.queue_tokens_max = 100'000'000;
  const std::vector<int32_t> short_ids(64, 1);
  for (int32_t tokens : {config.short_tokens_max(), config.short_tokens_max() + 1, 4096}) {
    Scheduler scheduler(config);
    ASSERT_TRUE(scheduler.admit({job(1, 32'768), job(2, 32'768), job(3, 32'768)}, 0).ok());
    (void)scheduler.finish_batch(0, scheduler.next_batch(0)->id);  // the first holds a full context of blocks
    ASSERT_TRUE(scheduler.admit({job(4, tokens)}, 0).ok());
    // A quarter of each step is the shortest long Job's: 513 tokens go aboard in 3 steps, not in 64.
    const int expected = tokens <= config.short_tokens_max() ? 1 : (tokens + 255) / 256;
    EXPECT_EQ(steps_until_aboard(scheduler, short_ids, 4), expected);
  }
}

TEST_F(SchedulerTest, TheBlocksOfWhatEndsWithABatchAreTheNextOnes) {
  config_.batches_in_flight_max = 2;
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 40), job(2, 40), job(3, 40), job(4, 40)}, 0).ok());
  const auto first = scheduler.next_batch(0);
  EXPECT_EQ(std::set(first->block_ids.begin(), first->block_ids.end()).size(), first->block_ids.size());
  EXPECT_EQ(scheduler.pool(0).used_count(), 0);
  const auto second = scheduler.next_batch(0);
  EXPECT_EQ(std::set(second->block_ids.begin(), second->block_ids.end()),
            std::set(first->block_ids.begin(), first->block_ids.end()));
  scheduler.lose(0);  // what was given back is not given back again
  EXPECT_EQ(scheduler.pool(0).used_count(), 0);
  EXPECT_EQ(scheduler.queued_tokens(), 160);
}

TEST_F(SchedulerTest, AJobThatWaitsForBlocksIsNotOvertakenForEver) {
  config_.batches_in_flight_max = 2;
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 600)}, 0).ok());
  auto running = scheduler.next_batch(0);
  ASSERT_TRUE(scheduler.admit({job(2, 1000)}, 1).ok());  // the first one's blocks are in its way
  // Later ones fit beside the first, and eight of them always wait or run.
  bool is_aboard = false;
  int steps = 0, overtakers = 0;
  for (uint64_t id = 10; !is_aboard && steps < 200; ++steps) {
    while (scheduler.live_jobs() < 10) ASSERT_TRUE(scheduler.admit({job(id++, 120)}, 2).ok());
    auto batch = scheduler.next_batch(0);
    for (const Span& span : batch->spans) {
      is_aboard |= span.job_id == 2;
      overtakers += span.job_id >= 10;
    }
    (void)finish(scheduler, *running);
    running = std::move(batch);
  }
  EXPECT_LE(steps, 600 / 25 + 2);
  EXPECT_GT(overtakers, 0) << "later Jobs whose blocks are free should not wait";
}

TEST_F(SchedulerTest, ALongJobMovesAtEachStepThoughShorterOnesKeepComing) {
  Scheduler scheduler(config_);
  ASSERT_TRUE(scheduler.admit({job(1, 1000)}, 0).ok());
  int steps = 0;
  for (uint64_t id = 10; steps < 100; ++id, ++steps) {
    ASSERT_TRUE(scheduler.admit({job(id, 60)}, 1).ok());
    const auto batch = scheduler.next_batch(0);
    EXPECT_EQ(batch->spans[0].job_id, 1u);
    EXPECT_GE(batch->spans[0].token_count, std::min(25, 1000 - batch->spans[0].position_begin));
    const bool is_last = batch->spans[0].is_last;
    (void)finish(scheduler, *batch);
    if (is_last) break;
  }
  EXPECT_LE(steps, 1000 / 25);
}

TEST_F(SchedulerTest, WhatCouldNeverFitIsNotToldToRetry) {
  Scheduler scheduler(config_);
  std::vector<SchedulerJob> jobs;
  for (uint64_t id = 1; id <= 6; ++id) jobs.push_back(job(id, 900));
  const auto tokens = scheduler.admit(jobs, 0);
  EXPECT_EQ(tokens.error().code, ErrorCode::kPayloadTooLarge);
  EXPECT_NE(tokens.error().message.find("--max-queue-tokens is 5000"), std::string::npos) << tokens.error().message;
  jobs.clear();
  for (uint64_t id = 1; id <= 51; ++id) jobs.push_back(job(id, 1));
  const auto inputs = scheduler.admit(jobs, 0);
  EXPECT_EQ(inputs.error().code, ErrorCode::kPayloadTooLarge);
  EXPECT_NE(inputs.error().message.find("--max-queue-jobs is 50"), std::string::npos) << inputs.error().message;
  EXPECT_EQ(scheduler.live_jobs(), 0);
}

TEST_F(SchedulerTest, BatchesOfTwoReplicasEndInAnyOrder) {
  Scheduler scheduler(config_, 2);
  ASSERT_TRUE(scheduler.admit({job(1, 300), job(2, 50), job(3, 50), job(4, 50)}, 0).ok());
  const auto first = scheduler.next_batch(0), second = scheduler.next_batch(1);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(ids(*first), (Ids{1, 2}));
  EXPECT_EQ(ids(*second), (Ids{3, 4}));  // the long Job's K/V is on the other one
  EXPECT_EQ(finish(scheduler, *second, 1), (Ids{3, 4}));
  EXPECT_FALSE(scheduler.next_batch(1).has_value());
  EXPECT_EQ(finish(scheduler, *first, 0), (Ids{2}));
  EXPECT_EQ(ids(*scheduler.next_batch(0)), (Ids{1}));
  EXPECT_GT(scheduler.pool(0).used_count(), 0);
  EXPECT_EQ(scheduler.pool(1).used_count(), 0);
}

TEST_F(SchedulerTest, TheJobsOfALostReplicaStartAgain) {
  config_.batches_in_flight_max = 2;
  Scheduler scheduler(config_, 2);
  ASSERT_TRUE(scheduler.admit({job(1, 300), job(2, 20), job(3, 20)}, 0).ok());
  ASSERT_TRUE(scheduler.next_batch(0) && scheduler.next_batch(0));  // the long one is aboard both
  EXPECT_TRUE(scheduler.cancel(3));
  scheduler.lose(0);
  EXPECT_EQ(scheduler.deaths(1), 1);
  EXPECT_EQ(scheduler.deaths(2), 1);
  EXPECT_EQ(scheduler.live_jobs(), 2);
  EXPECT_EQ(scheduler.queued_tokens(), 320);
  EXPECT_EQ(scheduler.pool(0).used_count(), 0);
  EXPECT_FALSE(scheduler.next_batch(0).has_value());
  const auto again = scheduler.next_batch(1);
  EXPECT_EQ(ids(*again), (Ids{1, 2}));
  EXPECT_EQ(again->spans[0].position_begin, 0);
  EXPECT_EQ(finish(scheduler, *again, 1), (Ids{2}));
  scheduler.restore(0);
  EXPECT_FALSE(scheduler.next_batch(0).has_value());  // the long one's K/V is elsewhere now
  ASSERT_TRUE(scheduler.admit({job(5, 10)}, 0).ok());
  EXPECT_EQ(ids(*scheduler.next_batch(0)), (Ids{5}));
}

}  // namespace
}  // namespace quern
