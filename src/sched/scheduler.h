// Scheduler: which tokens go into the next Batch. A pure state machine: time is an argument; no thread, clock, tensor
// or I/O.
//
// Owns the queue, the block pool and the page tables. Promises:
//  - a Batch has at most batch_tokens_max tokens and batch_spans_max spans;
//  - every admitted Job ends exactly once: in finished(), take_expired() or cancel();
//  - Jobs start in order of rank = arrival - priority * priority_boost_us, so no Job waits for ever behind later ones;
//  - a short Job (<= short_tokens_max) is computed whole in one Batch and never waits for K/V blocks;
//  - while short Jobs wait, long ones take at most half of a Batch; long ones reserve all their blocks before they
//  start,
//    so a started Job can always finish and nothing deadlocks.
// Not thread-safe: the engine calls it under its lock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "core/batch.h"
#include "kv/block_pool.h"

namespace quern {

struct SchedulerConfig {
  int32_t batch_tokens_max = 1024;
  int32_t batch_spans_max = 256;
  int32_t batches_in_flight_max = 1;
  int64_t queue_tokens_max = 1'000'000;
  int32_t queue_jobs_max = 100'000;
  int32_t context_tokens_max = 32'768;
  int32_t block_tokens = 16;
  int64_t priority_boost_us = 1'000'000;

  /// A Job up to this long is short. Half a Batch, so that one short Job always fits beside a long chunk.
  int32_t short_tokens_max() const { return std::max(1, batch_tokens_max / 2); }
  /// Blocks that short Jobs may hold: all they can need while batches_in_flight_max Batches are under way.
  int32_t short_blocks() const;
  /// Blocks that long Jobs may hold: one Job of the full context.
  int32_t long_blocks() const { return blocks_for_tokens(context_tokens_max, block_tokens); }
  int32_t total_blocks() const { return short_blocks() + long_blocks(); }
};

/// What the scheduler needs to know of a Job. `token_ids` must outlive the Job's stay in the scheduler.
struct SchedulerJob {
  uint64_t id = 0;
  const std::vector<int32_t>* token_ids = nullptr;
  int64_t deadline_us = 0;
  int32_t priority = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerConfig& config);

  /// Takes all the jobs or none. kOverloaded names the limit; kInvalidArgument for a Job over the context length.
  Result<void> admit(const std::vector<SchedulerJob>& jobs, int64_t now_us);

  /// The next Batch, or nothing when no work fits or batches_in_flight_max are under way. Batches must run in order.
  std::optional<Batch> next_batch(int64_t now_us);

  /// Must be called once for each Batch, in order. Returns the ids of Jobs whose last token was in it, in span order,
  /// without those cancelled or expired meanwhile.
  std::vector<uint64_t> finish_batch(uint64_t batch_id);

  /// Removes Jobs whose deadline is at or before `now_us`; returns their ids.
  std::vector<uint64_t> take_expired(int64_t now_us);

  /// Forgets a Job; false when it is unknown (it may have ended already). Blocks aboard a Batch are freed after it.
  bool cancel(uint64_t job_id);

  /// Jobs and tokens that still wait for a place in a Batch.
  int32_t queued_jobs() const { return static_cast<int32_t>(short_queue_.size() + long_queue_.size()); }
  int64_t queued_tokens() const { return queued_tokens_; }
  int32_t live_jobs() const { return static_cast<int32_t>(entries_.size()); }
  int32_t batches_in_flight() const { return static_cast<int32_t>(in_flight_.size()); }
  const BlockPool& pool() const { return pool_; }
  const SchedulerConfig& config() const { return config_; }

 private:
  struct Entry {
    SchedulerJob job;
    int64_t rank_us = 0;
    int32_t scheduled_tokens = 0;  // tokens already put into Batches
    int32_t spans_in_flight = 0;
    int32_t token_count = 0;
    bool is_short = false;
    bool removed = false;  // cancelled or expired while aboard a Batch
    std::vector<int32_t> blocks;
    int32_t remaining() const { return token_count - scheduled_tokens; }
  };
  using Rank = std::pair<int64_t, uint64_t>;  // (rank_us, job id): ids grow with arrival, so equal ranks stay FIFO

  std::set<Rank>& queue_of(const Entry& entry) { return entry.is_short ? short_queue_ : long_queue_; }
  bool reserve_blocks(Entry& entry);
  void append_span(Entry& entry, int32_t token_count, Batch& batch);
  void take_long(Batch& batch, int32_t tokens_max, int32_t spans_max);
  void take_short(Batch& batch);
  void erase(uint64_t job_id);

  SchedulerConfig config_;
  BlockPool pool_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::set<Rank> short_queue_;  // Jobs with tokens still to schedule
  std::set<Rank> long_queue_;
  std::set<std::pair<int64_t, uint64_t>> deadlines_;                      // (deadline_us, job id), only finite ones
  std::map<uint64_t, std::vector<std::pair<uint64_t, bool>>> in_flight_;  // batch id -> (job id, is_last) per span
  int64_t queued_tokens_ = 0;
  int64_t short_tokens_queued_ = 0;
  int32_t long_blocks_used_ = 0;
  uint64_t next_batch_id_ = 1;
};

}  // namespace quern
