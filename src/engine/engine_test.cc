#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <random>
#include <stdexcept>
#include <thread>

#include "base/clock.h"
#include "worker/local_replica.h"

namespace quern {
namespace {

/// A pure function of the token ids seen so far would need K/V; the first and last id of the span are enough to tell
/// Jobs apart.
Result<BatchResult> echo_last_token(const Batch& batch) {
  BatchResult result{batch.id, {}};
  for (const Span& span : batch.spans) {
    const auto last = static_cast<size_t>(span.token_begin + span.token_count - 1);
    if (span.is_last) result.vectors.push_back({{static_cast<float>(batch.token_ids[last])}});
  }
  return result;
}

EngineConfig small_config() {
  EngineConfig config;
  config.scheduler.batch_tokens_max = 64;
  config.scheduler.batch_spans_max = 16;
  config.scheduler.context_tokens_max = 512;
  return config;
}

Job make_job(std::vector<int32_t> ids, Completion completion) {
  Job job;
  job.token_ids = std::move(ids);
  job.completion = std::move(completion);
  return job;
}

TEST(EngineTest, EveryJobOfManyThreadsGetsItsOwnVector) {
  constexpr int kThreads = 4, kJobsPerThread = 500;
  std::atomic<int> right{0}, ended{0};
  {
    Engine engine(small_config(), {local_replica(echo_last_token)});
    std::vector<std::thread> clients;
    for (int t = 0; t < kThreads; ++t) {
      clients.emplace_back([&, t] {
        std::mt19937 random(static_cast<unsigned>(t));
        for (int i = 0; i < kJobsPerThread; ++i) {
          std::vector<int32_t> ids(1 + random() % 200, 7);
          ids.back() = t * kJobsPerThread + i;
          const auto expected = static_cast<float>(ids.back());
          std::vector<Job> jobs;
          jobs.push_back(make_job(std::move(ids), [&, expected](Result<Output> vector, const JobTiming& timing) {
            ended += 1;
            right += vector.ok() && vector->values[0] == expected && timing.started_us >= timing.submitted_us &&
                     timing.finished_us >= timing.started_us;
          }));
          ASSERT_TRUE(engine.submit(std::move(jobs)).ok());
        }
      });
    }
    for (std::thread& client : clients) client.join();
  }  // the destructor drains
  EXPECT_EQ(ended, kThreads * kJobsPerThread);
  EXPECT_EQ(right, kThreads * kJobsPerThread);
}

TEST(EngineTest, AFailedBatchFailsItsJobsAndTheNextOneWorks) {
  std::atomic<bool> broken{true};
  Engine engine(small_config(), {local_replica([&](const Batch& batch) -> Result<BatchResult> {
                  if (broken) return internal_error("the model broke");
                  return echo_last_token(batch);
                })});
  for (bool expect_ok : {false, true}) {
    std::promise<bool> done;
    std::vector<Job> jobs;
    jobs.push_back(
        make_job(std::vector<int32_t>(300, 3), [&](Result<Output> v, const JobTiming&) { done.set_value(v.ok()); }));
    ASSERT_TRUE(engine.submit(std::move(jobs)).ok());
    EXPECT_EQ(done.get_future().get(), expect_ok);
    broken = false;
  }
  EXPECT_EQ(engine.stats().blocks_used, 0);
}

TEST(EngineTest, CancelledAndExpiredJobsEndOnceWithTheirReason) {
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  Engine engine(small_config(), {local_replica([opened](const Batch& batch) {
                  opened.wait();
                  return echo_last_token(batch);
                })});
  std::promise<ErrorCode> cancelled, expired;
  std::promise<bool> first;
  std::vector<Job> jobs;
  jobs.push_back(
      make_job(std::vector<int32_t>(64, 1), [&](Result<Output> v, const JobTiming&) { first.set_value(v.ok()); }));
  jobs.push_back(make_job({2}, [&](Result<Output> v, const JobTiming&) { cancelled.set_value(v.error().code); }));
  jobs.push_back(make_job(std::vector<int32_t>(64, 3),
                          [&](Result<Output> v, const JobTiming&) { expired.set_value(v.error().code); }));
  jobs.back().deadline_us = now_us() + 1000;
  const auto ids = engine.submit(std::move(jobs));
  ASSERT_TRUE(ids.ok());
  engine.cancel(std::span(*ids).subspan(1, 1));
  engine.cancel(std::span(*ids).subspan(1, 1));  // again: ignored
  EXPECT_EQ(cancelled.get_future().get(), ErrorCode::kCancelled);
  EXPECT_EQ(expired.get_future().get(), ErrorCode::kDeadlineExceeded);
  gate.set_value();
  EXPECT_TRUE(first.get_future().get());
}

TEST(EngineTest, OverloadIsRefusedWithRetryAfterAndLosesNothing) {
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  EngineConfig config = small_config();
  config.scheduler.queue_jobs_max = 3;
  std::atomic<int> ended{0};
  {
    Engine engine(config, {local_replica([opened](const Batch& batch) {
                    opened.wait();
                    return echo_last_token(batch);
                  })});
    const auto submit_one = [&] {
      std::vector<Job> jobs;
      jobs.push_back(make_job({1}, [&](Result<Output>, const JobTiming&) { ended += 1; }));
      return engine.submit(std::move(jobs));
    };
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(submit_one().ok());
    const auto refused = submit_one();
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::kOverloaded);
    EXPECT_GE(refused.error().retry_after_s, 1);
    gate.set_value();
    engine.drain();
    EXPECT_EQ(submit_one().error().code, ErrorCode::kUnavailable);
  }
  EXPECT_EQ(ended, 3);
}

TEST(EngineTest, ADeadlineIsAnsweredWhileABatchRuns) {
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  Engine engine(small_config(), {local_replica([opened](const Batch& batch) {
                  opened.wait();
                  return echo_last_token(batch);
                })});
  std::promise<ErrorCode> expired;
  std::vector<Job> jobs;
  jobs.push_back(make_job({1}, [&](Result<Output> v, const JobTiming&) { expired.set_value(v.error().code); }));
  jobs[0].deadline_us = now_us() + 1000;
  ASSERT_TRUE(engine.submit(std::move(jobs)).ok());
  EXPECT_EQ(expired.get_future().get(), ErrorCode::kDeadlineExceeded);  // the Batch ends only after this
  gate.set_value();
}

TEST(EngineTest, WhatACompletionOrAHookThrowsIsCountedAndTheNextJobWorks) {
  std::atomic<int> failures{0};
  EngineHooks hooks;
  hooks.on_step = [](const StepReport&) { throw std::runtime_error("the metrics broke"); };
  hooks.on_failure = [&](std::string_view) { ++failures; };
  std::atomic<int> ended{0};
  {
    Engine engine(small_config(), {local_replica(echo_last_token)}, hooks);
    for (int i = 0; i < 3; ++i) {
      std::vector<Job> jobs;
      jobs.push_back(make_job({1}, [&](Result<Output>, const JobTiming&) {
        ++ended;
        throw std::bad_alloc();
      }));
      ASSERT_TRUE(engine.submit(std::move(jobs)).ok());
    }
  }
  EXPECT_EQ(ended, 3);
  EXPECT_GE(failures, 4);  // three completions and at least one step
}

TEST(EngineTest, ReplicasComeAndGoUnderLoadAndNothingIsLost) {
  std::atomic<int> right{0};
  constexpr int kJobs = 600;
  {
    // These replicas live on when they are called lost, so what they were given before still waits in them.
    constexpr int32_t kWaitingMax = 1 << 14;
    Engine engine(small_config(),
                  {local_replica(echo_last_token, kWaitingMax), local_replica(echo_last_token, kWaitingMax)});
    std::atomic<bool> stop{false};
    std::thread chaos([&] {
      for (int32_t replica = 0; !stop; replica = 1 - replica) {
        engine.lose(replica);
        engine.restore(replica);
      }
    });
    std::mt19937 random(5);
    for (int i = 0; i < kJobs; ++i) {
      std::vector<Job> jobs;
      std::vector<int32_t> ids(1 + random() % 100, 7);
      ids.back() = i;
      jobs.push_back(make_job(std::move(ids), [&right, i](Result<Output> v, const JobTiming&) {
        right += v.ok() && v->values[0] == static_cast<float>(i);
      }));
      ASSERT_TRUE(engine.submit(std::move(jobs)).ok());
    }
    while (right < kJobs / 2) std::this_thread::yield();
    stop = true;
    chaos.join();
  }
  EXPECT_EQ(right, kJobs);
}

TEST(EngineTest, ADrainEndsWhenEveryReplicaIsLost) {
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  std::promise<ErrorCode> waiting, aboard;
  Engine engine(small_config(), {local_replica(
                                    [opened](const Batch& batch) {
                                      opened.wait();
                                      return echo_last_token(batch);
                                    },
                                    /*batches_max=*/2)});
  std::vector<Job> jobs;
  jobs.push_back(make_job({1}, [&](Result<Output> v, const JobTiming&) { aboard.set_value(v.error().code); }));
  jobs.push_back(make_job(std::vector<int32_t>(500, 1),
                          [&](Result<Output> v, const JobTiming&) { waiting.set_value(v.error().code); }));
  ASSERT_TRUE(engine.submit(std::move(jobs)).ok());
  engine.lose(0);
  engine.drain();
  EXPECT_EQ(aboard.get_future().get(), ErrorCode::kUnavailable);
  EXPECT_EQ(waiting.get_future().get(), ErrorCode::kUnavailable);
  gate.set_value();
}

}  // namespace
}  // namespace quern
