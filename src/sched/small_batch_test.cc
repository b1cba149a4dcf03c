// Small Batches: while queries come, what a query, a short Job and a full step are promised.
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "core/job.h"
#include "sched/scheduler.h"

namespace quern {
namespace {

/// A GPU's limits, and a load that keeps as many Jobs of each kind in the scheduler as it is told.
class SmallBatchTest : public ::testing::Test {
 protected:
  SmallBatchTest() {
    config_.batch_tokens_max = 8192;
    config_.brief_batch_tokens_max = 2048;
    scheduler_.emplace(config_);
  }

  uint64_t admit(int32_t tokens, int64_t now_us = 0, bool is_brief = false) {
    tokens_.emplace_back(static_cast<size_t>(tokens), 1);
    EXPECT_TRUE(scheduler_->admit({{next_id_, &tokens_.back(), kNoDeadline, 0, is_brief}}, now_us).ok());
    lengths_[next_id_] = tokens;
    return next_id_++;
  }
  /// One small step; the tokens aboard of each Job. What has ended is followed by the like, at `now_us`.
  std::map<uint64_t, int32_t> step(int64_t now_us) {
    const auto batch = scheduler_->next_batch(0, config_.brief_batch_tokens_max);
    std::map<uint64_t, int32_t> aboard;
    if (!batch) return aboard;
    for (const Span& span : batch->spans) aboard[span.job_id] = span.token_count;
    for (const EndedSpan& span : scheduler_->finish_batch(0, batch->id)) {
      if (!span.is_last) continue;
      ended_[span.job_id] = true;
      admit(lengths_.at(span.job_id), now_us, lengths_.at(span.job_id) <= 64);
    }
    tokens_aboard_ = static_cast<int32_t>(batch->token_ids.size());
    return aboard;
  }
  int steps_until_ended(uint64_t id) {
    for (int steps = 1; steps < 100; ++steps) {  // of 30 ms: it does not rank before what comes for a second
      (void)step(steps * 30'000);
      if (ended_[id]) return steps;
    }
    return 100;
  }

  SchedulerConfig config_;
  std::optional<Scheduler> scheduler_;
  std::deque<std::vector<int32_t>> tokens_;
  std::map<uint64_t, int32_t> lengths_;
  std::map<uint64_t, bool> ended_;
  uint64_t next_id_ = 1;
  int32_t tokens_aboard_ = 0;
};

// 512 ids and the end token: whole, three of them and the queries fill 80% of a step.
TEST_F(SmallBatchTest, IsFullWhateverTheLengths) {
  for (int i = 0; i < 64; ++i) admit(513);
  for (int i = 0; i < 8; ++i) admit(12, 0, true);
  int64_t sum = 0;
  constexpr int kSteps = 200;
  for (int i = 0; i < kSteps; ++i) {
    (void)step(i);
    sum += tokens_aboard_;
  }
  const double fill = static_cast<double>(sum) / (kSteps * config_.brief_batch_tokens_max);
  std::printf("step fill %.3f\n", fill);
  EXPECT_EQ(fill, 1);
}

// It was computed when it ranked first, and queries rank before it for a second.
TEST_F(SmallBatchTest, AShortJobLongerThanItMovesAtEachStep) {
  for (const int32_t tokens : {2049, 3000, 4096}) {
    scheduler_.emplace(config_);
    for (int i = 0; i < 400; ++i) admit(12, 0, true);  // more than a step holds
    EXPECT_LE(steps_until_ended(admit(tokens)), (tokens + 511) / 512);
  }
}

TEST_F(SmallBatchTest, AQueryIsAboardAtOnceWhateverHasWaitedForLonger) {
  for (int i = 0; i < 200; ++i) admit(i % 2 == 0 ? 513 : 4000);
  admit(30'000);
  (void)step(0);  // one is cut
  const uint64_t query = admit(12, 10'000'000, true);
  const uint64_t no_query = admit(12, 10'000'000);
  const auto aboard = step(10'000'000);
  EXPECT_TRUE(aboard.contains(query));
  EXPECT_FALSE(aboard.contains(no_query));
}

TEST_F(SmallBatchTest, AWaitingQueryMakesABatchSmall) {
  for (int i = 0; i < 20; ++i) admit(513);
  admit(12, 0, true);
  const auto small = scheduler_->next_batch(0);
  EXPECT_EQ(small->token_ids.size(), 2048u);
  (void)scheduler_->finish_batch(0, small->id);
  const auto full = scheduler_->next_batch(0);
  EXPECT_GT(full->token_ids.size(), 7600u);
  for (const Span& span : full->spans) EXPECT_TRUE(span.is_last) << "what a small Batch has cut goes aboard whole";
}

// What was cut keeps its blocks meanwhile, within those that short Jobs may hold.
TEST_F(SmallBatchTest, ACutJobKeepsItsBlocksAndGivesThemBackOnce) {
  const uint64_t first = admit(4096);
  for (int i = 0; i < 8; ++i) admit(4096);
  auto aboard = step(0);
  EXPECT_EQ(aboard, (std::map<uint64_t, int32_t>{{first, 2048}}));
  EXPECT_EQ(scheduler_->pool().used_count(), 4096 / config_.block_tokens);
  EXPECT_EQ(scheduler_->queued_jobs(), 9);
  scheduler_->lose(0);
  EXPECT_EQ(scheduler_->pool().used_count(), 0);
  EXPECT_EQ(scheduler_->queued_tokens(), 9 * 4096);
  scheduler_->restore(0);
  (void)step(0);
  EXPECT_TRUE(scheduler_->cancel(first));
  EXPECT_EQ(scheduler_->pool().used_count(), 0);
  EXPECT_EQ(scheduler_->next_batch(0)->token_ids.size(), 8192u);
}

}  // namespace
}  // namespace quern
