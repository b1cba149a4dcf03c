// ReplicaState: what the scheduler knows of one replica: its block pool, the Jobs that have started there, and the
// Batches in flight.
//
// The pool has three shares, fixed at start. Short Jobs may hold all they can need: what one Batch of them needs, and
// of that what the one that was cut holds meanwhile. Of the long ones the first by rank of those that wait starts in
// the main share (one full context); any other one, or one that the main share has no room for, starts in the spare
// share or waits. So a Job that waits for blocks waits only for the Jobs that started in the main share before it,
// whatever starts in the spare share meanwhile. Not thread-safe: the scheduler is the only user.
#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "kv/block_pool.h"
#include "sched/queue.h"
#include "sched/scheduler_config.h"

namespace quern {

class ReplicaState {
 public:
  struct Aboard {
    Entry* entry = nullptr;
    uint64_t job_id = 0;
    bool is_last = false;
  };
  struct InFlight {
    uint64_t batch_id = 0;
    int32_t tokens = 0;
    std::vector<Aboard> aboard;  // in span order
  };
  enum class Share { kNone, kMain, kSpare };

  explicit ReplicaState(const SchedulerConfig& config);

  /// The share in which a long Job that has not started could start now; kNone when it must wait. `is_first`: no long
  /// Job that has not started ranks before it. `spare_planned`: blocks of the spare share that are as good as taken.
  Share share_for(const Entry& entry, bool is_first, int32_t spare_planned) const;

  /// Takes the Job's blocks; entry.blocks must have room for them.
  void start(Entry& entry, Share share) noexcept;
  /// Gives them back; without effect where that was done.
  void release(Entry& entry) noexcept;

  /// A Job that has started and has tokens still to schedule: kept here until its next span.
  void hold(Entry& entry) noexcept;
  void let_go(Entry& entry) noexcept;
  /// One that hold() keeps; null when there is none.
  Entry* any_held() const { return cut_ != nullptr ? cut_ : started_.first(); }
  size_t held_jobs() const { return started_.size() + (cut_ != nullptr ? 1 : 0); }
  /// Of these the long ones.
  const LongJobs& started() const { return started_; }
  /// And the short one that did not fit the rest of a small Batch whole: one at most; null when there is none.
  Entry* cut() const { return cut_; }

  int32_t blocks_needed(const Entry& entry) const { return blocks_for_tokens(entry.token_count, config_.block_tokens); }

  std::list<InFlight> in_flight;  // oldest first
  bool is_up = true;              // false from lose() to restore()
  const BlockPool& pool() const { return pool_; }

 private:
  const SchedulerConfig& config_;
  LongJobs started_;  // with tokens still to schedule
  Entry* cut_ = nullptr;
  BlockPool pool_;
  int32_t main_used_ = 0;
  int32_t spare_used_ = 0;
};

}  // namespace quern
