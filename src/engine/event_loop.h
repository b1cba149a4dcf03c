// EventLoop: what the engine does at each event, without its thread and its clock.
//
// Owns every accepted Job until it has ended, and the scheduler. Events are submissions, cancellations, ended Batches
// and times; step() takes them in and starts Batches; time is an argument, so that tests drive it without sleeping. It
// computes nothing and never waits.
// When memory is missing, submit() takes nothing and step() keeps what it has done: calling it again goes on from
// there. Not thread-safe, but for room(): the engine calls it under its lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "core/batch.h"
#include "core/job.h"
#include "core/replica.h"
#include "sched/scheduler.h"

namespace quern {

struct EngineConfig {
  SchedulerConfig scheduler;
  /// Clients that wait for answers send their next request just after a Batch has ended. Computing at once would give
  /// the first few of them a small Batch and let the many others wait for it; so the engine waits for as many Jobs as
  /// have just ended, for at most this share of the time that they took, and never longer than the other field says.
  double linger_share = 0.03;
  int64_t linger_us_max = 5'000;
  /// When a step failed for want of memory, the next one comes after this time.
  int64_t retry_us = 10'000;
};

/// Whether an engine can work within these limits. An Error names the flag at fault.
Result<void> check_config(const EngineConfig& config);

/// What one Batch was, for metrics.
struct StepReport {
  int32_t batch_tokens = 0;
  int32_t batch_spans = 0;
  int64_t compute_us = 0;
  bool ok = true;
  bool is_lost = false;  // the replica will compute nothing any more
};

/// A Job in the engine; once it has ended, with its outcome.
struct LiveJob {
  Job job;
  JobTiming timing;
  Result<Output> outcome = Error{};
};
using EndedJobs = std::list<LiveJob>;

/// What a step leaves to its caller.
struct Turn {
  EndedJobs ended;                  // to be completed
  std::vector<StepReport> reports;  // of Batches that ended
};

class EventLoop {
 public:
  static constexpr int64_t kNeverUs = kNoDeadline;
  using StartBatch = std::function<void(int32_t replica, Batch batch)>;

  /// `start` hands a Batch to a replica; it must not block and must not throw.
  EventLoop(const EngineConfig& config, int32_t replica_count, StartBatch start);

  /// Takes all the Jobs or none; see Embedder. Assigns ids. Errors as room().
  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs, int64_t now_us);
  void cancel(std::span<const uint64_t> job_ids, EndedJobs& ended);
  /// Keeps the end of a Batch for the next step.
  void batch_ended(int32_t replica, BatchEnd end) noexcept;
  /// The replica died: its Jobs go back to the queue, and what it still answers is ignored until restore().
  void lose(int32_t replica) noexcept;
  void restore(int32_t replica);
  /// Refuses new Jobs, and no more lingering: every Job that can be computed is. While no replica is up none can be:
  /// then the Jobs end with kUnavailable.
  void begin_drain() { draining_ = true; }

  /// Takes in what has happened up to `now_us` and starts what can be started. Adds to `turn`, which may already hold
  /// something. Returns when to call it again if nothing happens before; `now_us` when the ended Jobs should be
  /// completed first.
  int64_t step(int64_t now_us, Turn& turn);

  /// No Job lives and no Batch is under way.
  bool is_idle() const { return scheduler_.live_jobs() == 0 && scheduler_.batches_in_flight() == 0; }
  bool is_drained() const { return draining_ && is_idle(); }
  /// Whether a request would be taken now. Any thread, no lock.
  Result<void> room(int64_t jobs, int64_t tokens) const;
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  struct Waiting {                // of one replica
    std::vector<BatchEnd> ends;   // arrived, not taken in; reserved for the Batches that may be in flight
    bool is_gone = false;         // it said itself that it is lost: nobody will restore it but restore()
    int32_t linger_jobs = 0;      // so many queued Jobs end the lingering
    int64_t linger_us = 0;        // how long it may last; 0: not at all
    int64_t linger_until_us = 0;  // 0: it begins when the ended Jobs have been completed
  };

  void expire(int64_t now_us, Turn& turn);
  void fail_all(const Error& error, Turn& turn);
  void set_gone(int32_t replica, bool is_gone) noexcept;
  void take_in(int32_t replica, Turn& turn);
  void end_batch(int32_t replica, BatchEnd& end, Turn& turn);
  void fail_oldest(int32_t replica, const Error& error, Turn& turn);
  int64_t finish_oldest(int32_t replica, BatchResult& result, Turn& turn);
  bool is_brief(const std::vector<Job>& request) const;
  bool is_brief_time(int64_t now_us) const { return now_us < brief_until_us_; }
  int32_t batch_tokens_max(int64_t now_us) const;
  std::optional<Batch> next_batch(int32_t replica, int64_t now_us);
  bool should_linger(const Waiting& waiting, int64_t now_us) const;
  void mark_started(const Batch& batch, int64_t now_us);
  void move_to_ended(uint64_t job_id, EndedJobs& ended) noexcept;
  void measure_rate(int32_t tokens, int64_t compute_us);
  Error with_retry_after(Error error) const;
  int retry_after_s() const;
  void publish() noexcept;

  const EngineConfig config_;
  const StartBatch start_;
  Scheduler scheduler_;
  std::list<LiveJob> live_;
  std::unordered_map<uint64_t, std::list<LiveJob>::iterator> by_id_;
  std::vector<Waiting> replicas_;
  uint64_t next_job_id_ = 1;
  int64_t brief_until_us_ = 0;  // until then Batches are small

  std::atomic<bool> draining_{false};
  std::atomic<bool> is_none_left_{false};  // every replica is gone
  std::atomic<int64_t> queued_tokens_{0};  // as of the last event, for room()
  std::atomic<int64_t> live_jobs_{0};
  std::atomic<double> tokens_per_second_{0};  // of one replica, smoothed; for Retry-After
};

}  // namespace quern
