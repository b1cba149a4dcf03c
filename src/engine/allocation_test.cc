// Memory is missing at the N-th allocation, for each N: nothing is left half done, no Job is lost or ends twice.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <future>
#include <map>

#include "base/test_failing_new.h"
#include "engine/engine.h"
#include "worker/local_replica.h"

namespace quern {
namespace {

using failing_new::allocations_left_here;

EngineConfig small_config() {
  EngineConfig config;
  config.scheduler.batch_tokens_max = 64;
  config.scheduler.batch_spans_max = 16;
  config.scheduler.context_tokens_max = 512;
  config.scheduler.batches_in_flight_max = 2;
  return config;
}

BatchResult result_of(const Batch& batch) {
  BatchResult result{batch.id, {}};
  for (const Span& span : batch.spans) {
    if (span.is_last) result.vectors.push_back({{static_cast<float>(span.job_id)}});
  }
  return result;
}

/// One life of an EventLoop with two replicas: submissions, a deadline, cancellations, a failed Batch, a lost replica.
class Scenario {
 public:
  /// Whether the `n`-th allocation was reached. Every call that fails is made once more, as the engine does.
  bool run(int64_t n) {
    fails_after_ = n;
    submit({20, 20, 300});
    submit({64}, 500);
    step(100);
    submit({100, 5});
    cancel({1, 5});
    end(0, false);
    step(1000);  // the deadline has passed
    lose();
    submit({30, 30, 200});
    for (int64_t now = 10'000; now < 3'000'000 && !loop_.is_idle(); now += 10'000) {
      step(now);
      end(0, true);
      end(1, true);
    }
    Turn last;
    (void)loop_.step(4'000'000, last);
    EXPECT_TRUE(loop_.is_idle());
    EXPECT_EQ(ended_.size(), admitted_);
    for (const auto& [id, count] : ended_) EXPECT_EQ(count, 1) << "job " << id;
    EXPECT_EQ(loop_.scheduler().queued_tokens(), 0);
    for (int32_t r : {0, 1}) EXPECT_EQ(loop_.scheduler().pool(r).used_count(), 0);
    return has_failed_;
  }

 private:
  template <typename Call>
  void attempt(const Call& call) {
    allocations_left_here = fails_after_;
    try {
      call();
      fails_after_ = allocations_left_here;
      allocations_left_here = -1;
    } catch (const std::bad_alloc&) {
      allocations_left_here = fails_after_ = -1;
      has_failed_ = true;
      call();
    }
  }

  void submit(const std::vector<int>& lengths, int64_t deadline_us = kNoDeadline) {
    const auto make = [&] {
      std::vector<Job> jobs;
      for (int length : lengths) {
        jobs.emplace_back().token_ids.assign(static_cast<size_t>(length), 7);
        jobs.back().deadline_us = deadline_us;
      }
      return jobs;
    };
    std::vector<std::vector<Job>> tries = {make(), make()};  // made before the counting begins
    const int32_t live = loop_.scheduler().live_jobs();
    const int64_t queued = loop_.scheduler().queued_tokens();
    attempt([&] {
      EXPECT_EQ(loop_.scheduler().live_jobs(), live) << "half a request was taken";
      EXPECT_EQ(loop_.scheduler().queued_tokens(), queued);
      std::vector<Job> jobs = std::move(tries.back());
      tries.pop_back();
      if (loop_.submit(std::move(jobs), 0)) admitted_ += lengths.size();
    });
  }
  void step(int64_t now_us) {
    Turn turn;
    attempt([&] { (void)loop_.step(now_us, turn); });
    keep(turn.ended);
  }
  void cancel(const std::vector<uint64_t>& ids) {
    EndedJobs ended;
    attempt([&] { loop_.cancel(ids, ended); });
    keep(ended);
  }
  void end(int32_t replica, bool is_ok) {
    if (started_[replica].empty()) return;
    const Batch batch = std::move(started_[replica].front());
    started_[replica].pop_front();
    BatchEnd end{batch.id, is_ok ? Result<BatchResult>(result_of(batch)) : internal_error("the model broke"), 1000};
    attempt([&] { loop_.batch_ended(replica, std::move(end)); });
  }
  void lose() {
    attempt([&] { loop_.lose(1); });
    loop_.restore(1);
    started_[1].clear();
  }
  void keep(const EndedJobs& ended) {
    for (const LiveJob& job : ended) ++ended_[job.job.id];
  }

  std::map<int32_t, std::deque<Batch>> started_;
  EventLoop loop_{small_config(), 2, [this](int32_t replica, Batch batch) {
                    const int64_t counting = allocations_left_here;
                    allocations_left_here = -1;  // a replica's own memory is its own affair
                    started_[replica].push_back(std::move(batch));
                    allocations_left_here = counting;
                  }};
  int64_t fails_after_ = -1;
  bool has_failed_ = false;
  size_t admitted_ = 0;
  std::map<uint64_t, int> ended_;
};

TEST(AllocationTest, NoJobIsLostWhereverMemoryIsMissing) {
  int64_t n = 0;
  while (Scenario().run(n) && !HasFailure()) ++n;
  EXPECT_GT(n, 100) << "hardly an allocation was reached";
}

TEST(AllocationTest, TheEnginesThreadGoesOnAfterAnyFailedAllocation) {
  std::atomic<int> failures{0}, right{0};
  constexpr int kJobs = 200;
  {
    EngineConfig config = small_config();
    config.retry_us = 1;
    EngineHooks hooks;
    hooks.on_failure = [&](std::string_view) { ++failures; };
    // Runs on the engine's thread: arms the allocation that fails there next.
    hooks.on_step = [n = 0](const StepReport&) mutable { allocations_left_here = n++ % 23; };
    Engine engine(
        config, {local_replica([](const Batch& batch) -> Result<BatchResult> { return result_of(batch); }, 2)}, hooks);
    for (int i = 0; i < kJobs; ++i) {
      std::promise<bool> done;
      std::vector<Job> jobs(1);
      jobs[0].token_ids.assign(static_cast<size_t>(1 + i % 150), 7);
      jobs[0].completion = [&done](Result<Output> v, const JobTiming&) { done.set_value(v.ok()); };
      ASSERT_TRUE(engine.submit(std::move(jobs)).ok());
      right += done.get_future().get();
    }
  }
  EXPECT_EQ(right, kJobs);
  EXPECT_GT(failures, 0);
}

}  // namespace
}  // namespace quern
