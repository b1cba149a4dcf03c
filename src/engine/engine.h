// Engine: drives the scheduler and the runner; submit(Job) -> completion.
//
// Owns every accepted Job until its completion has been called, exactly once: with a Output, or with an Error
// (deadline, cancel, failed batch, shutdown). One thread makes and runs Batches; submit() and cancel() are safe from
// any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "core/batch.h"
#include "core/job.h"
#include "sched/scheduler.h"

namespace quern {

/// Computes one Batch; called from the engine's thread only, one call at a time.
using RunBatch = std::function<Result<BatchResult>(const Batch&)>;

/// What one step did, for metrics. Queue figures are those after the step.
struct StepReport {
  int32_t batch_tokens = 0;
  int32_t batch_spans = 0;
  int64_t compute_us = 0;
  bool ok = true;
};

struct EngineStats {
  int32_t queued_jobs = 0;
  int64_t queued_tokens = 0;
  int32_t live_jobs = 0;
  int32_t blocks_used = 0;
  int32_t blocks_total = 0;
};

class Engine {
 public:
  /// `on_step` may be empty; it is called on the engine's thread after each Batch.
  Engine(const SchedulerConfig& config, RunBatch run_batch, std::function<void(const StepReport&)> on_step = {});
  /// Drains: see drain().
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Takes all the Jobs or none; assigns and returns their ids, in order. On success each completion is called exactly
  /// once, possibly before submit() returns. kOverloaded carries Retry-After; kUnavailable once draining.
  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs);

  /// Ends the Jobs that have not ended yet with kCancelled. Unknown ids are ignored.
  void cancel(std::span<const uint64_t> job_ids);

  /// Refuses new Jobs, finishes the accepted ones, stops the thread. Idempotent.
  void drain();

  EngineStats stats() const;

 private:
  struct Pending {
    Job job;
    JobTiming timing;
  };
  struct Ended {
    Pending pending;
    Result<Output> outcome;
  };

  void loop();
  bool should_linger(int64_t now) const;
  void mark_started(const Batch& batch, int64_t started_us);
  void finish(const Batch& batch, Result<BatchResult> result, int64_t compute_us, std::vector<Ended>& ended);
  void take_ended(uint64_t job_id, Result<Output> outcome, std::vector<Ended>& ended);
  static void complete(std::vector<Ended> ended);
  int retry_after_s() const;

  const RunBatch run_batch_;
  const std::function<void(const StepReport&)> on_step_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  Scheduler scheduler_;                            // guarded by mutex_
  std::unordered_map<uint64_t, Pending> pending_;  // guarded by mutex_
  uint64_t next_job_id_ = 1;                       // guarded by mutex_
  double tokens_per_second_ = 0;                   // guarded by mutex_: smoothed, for Retry-After
  int64_t linger_until_us_ = 0;                    // guarded by mutex_
  int32_t linger_jobs_ = 0;                        // guarded by mutex_: how many queued Jobs end the lingering
  bool draining_ = false;                          // guarded by mutex_
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace quern
