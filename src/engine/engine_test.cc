#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <random>

#include "base/clock.h"

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

SchedulerConfig small_config() {
  SchedulerConfig config;
  config.batch_tokens_max = 64;
  config.batch_spans_max = 16;
  config.context_tokens_max = 512;
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
    Engine engine(small_config(), echo_last_token);
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
  Engine engine(small_config(), [&](const Batch& batch) -> Result<BatchResult> {
    if (broken) return internal_error("the model broke");
    return echo_last_token(batch);
  });
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
  Engine engine(small_config(), [opened](const Batch& batch) {
    opened.wait();
    return echo_last_token(batch);
  });
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
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  gate.set_value();
  EXPECT_TRUE(first.get_future().get());
  EXPECT_EQ(expired.get_future().get(), ErrorCode::kDeadlineExceeded);
}

TEST(EngineTest, OverloadIsRefusedWithRetryAfterAndLosesNothing) {
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  SchedulerConfig config = small_config();
  config.queue_jobs_max = 3;
  std::atomic<int> ended{0};
  {
    Engine engine(config, [opened](const Batch& batch) {
      opened.wait();
      return echo_last_token(batch);
    });
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

/// Batches that `clients` need for `requests` each, one at a time, when a Batch takes 300 ms.
int batches_of_waiting_clients(int clients, int requests) {
  std::atomic<int> batches{0};
  Engine engine(small_config(), [&](const Batch& batch) {
    ++batches;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return echo_last_token(batch);
  });
  std::vector<std::thread> threads;
  for (int client = 0; client < clients; ++client) {
    threads.emplace_back([&] {
      for (int i = 0; i < requests; ++i) {
        std::promise<void> done;
        std::vector<Job> jobs;
        jobs.push_back(make_job({1, 2}, [&](Result<Output>, const JobTiming&) { done.set_value(); }));
        ASSERT_TRUE(engine.submit(std::move(jobs)).ok());
        done.get_future().get();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return batches;
}

TEST(EngineTest, ClientsThatWaitForAnswersShareTheNextBatch) {
  // The first Batch holds whoever came first, the second the others; then all eight should go together. Whoever comes
  // later than the engine lingers costs a Batch, so a busy machine gets a second and a third try.
  int least = 1000;
  for (int attempt = 0; attempt < 3 && least > 5; ++attempt) least = std::min(least, batches_of_waiting_clients(8, 4));
  EXPECT_LE(least, 5);
}

}  // namespace
}  // namespace quern
