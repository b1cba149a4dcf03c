// Scheduler: which tokens go into the next Batch of which replica. A pure state machine: time is an argument; no
// thread, clock, tensor or I/O.
//
// Owns the Jobs' entries; joins the order of Jobs (queue.h) with the state of each replica (replica_state.h). Promises,
// with f = batches_in_flight_max, all held in simulation.cc:
//  - A Batch has at most batch_tokens_max tokens and batch_spans_max spans.
//  - Every admitted Job ends exactly once: in finish_batch(), next_expired() or cancel().
//  - Rank = arrival - priority x priority_boost_us, so a priority moves a Job by a bounded time.
//  - A short Job (<= short_tokens_max) never waits for K/V blocks. Without queries it is computed whole in one Batch
//    and goes aboard after at most as many steps as short Jobs rank before it, plus one.
//  - A query (brief_tokens()) is computed whole and goes aboard after at most as many steps as queries rank before it,
//    plus one, whatever else waits. While queries wait, and in any step that the caller wants small, short Jobs go
//    aboard in the order of their rank, and one that does not fit is cut: its rest heads the next one. They get s, a
//    quarter of the step at least, so that one of n tokens costs itself and those behind it at most ceil(n / s) steps.
//  - While short Jobs wait, long ones take at most half of a Batch.
//  - Long Jobs are fed in chunks. Of their share of each step, h >= batch_tokens_max / 2 tokens, the Job that ranks
//    first gets half, q >= h / 2, and the shortest ones the rest. So a Job of n tokens that is the shortest goes aboard
//    in n / (h - q) steps whatever runs; and any long Job goes aboard after at most the sum of ceil(n / q) + f - 1
//    steps over itself, the long Jobs that rank before it, and those before the last-ranked that had started when it
//    came.
//  - A long Job takes all its blocks when it starts, so a started Job can always finish and nothing deadlocks.
// What can fail for want of memory (admit, next_batch) changes nothing when it throws; the rest does not throw.
// Not thread-safe: the engine calls it under its lock.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "core/batch.h"
#include "sched/queue.h"
#include "sched/replica_state.h"
#include "sched/scheduler_config.h"

namespace quern {

/// A Job's part in a Batch that has ended.
struct EndedSpan {
  uint64_t job_id = 0;
  bool is_last = false;  // the Batch held the Job's last token
  bool is_live = false;  // not cancelled and not expired meanwhile
};

class Scheduler {
 public:
  /// CHECKs that check_config() has nothing against `config`, beyond the size of the queue.
  explicit Scheduler(const SchedulerConfig& config, int32_t replica_count = 1);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Takes all the jobs or none. Errors as check_room(); kInvalidArgument for a Job over the context length.
  Result<void> admit(const std::vector<SchedulerJob>& jobs, int64_t now_us);

  /// The next Batch for this replica, or nothing when no work fits or batches_in_flight_max are under way there. A
  /// replica runs its Batches in order.
  /// `tokens_max`: of this Batch; less where queries wait.
  std::optional<Batch> next_batch(int32_t replica, int32_t tokens_max);
  std::optional<Batch> next_batch(int32_t replica) { return next_batch(replica, config_.batch_tokens_max); }
  /// Whether the replica is up and may be given a Batch.
  bool takes_batches(int32_t replica) const;

  /// Must be called once for each Batch, in order for each replica. What was aboard, in span order; live Jobs whose
  /// last token was in it have ended.
  std::vector<EndedSpan> finish_batch(int32_t replica, uint64_t batch_id);
  /// The oldest Batch in flight there, and who is aboard; null when there is none.
  const ReplicaState::InFlight* oldest_in_flight(int32_t replica) const;

  /// The replica and its K/V are gone: its Batches in flight will not end, its Jobs return to the queue and start again
  /// at their first token. No Batch is made for it until restore().
  void lose(int32_t replica) noexcept;
  void restore(int32_t replica) { replicas_[static_cast<size_t>(replica)].is_up = true; }

  /// Takes out a Job whose deadline is at or before `now_us`; its id, or nothing when there is none left.
  std::optional<uint64_t> next_expired(int64_t now_us);
  /// The nearest deadline of a Job that has not ended; kNoDeadline without any.
  int64_t nearest_deadline_us() const;

  /// Forgets a Job; false when it is unknown (it may have ended already).
  bool cancel(uint64_t job_id) noexcept;

  /// Jobs and tokens that still wait for a place in a Batch.
  int32_t queued_jobs() const;
  int64_t queued_tokens() const { return queued_tokens_; }
  /// Jobs that have not ended, and those that have but are still aboard a Batch.
  int32_t live_jobs() const { return static_cast<int32_t>(entries_.size()); }
  int32_t batches_in_flight() const;
  bool is_any_up() const;
  int32_t deaths(uint64_t job_id) const { return entries_.at(job_id).deaths; }
  int32_t replica_count() const { return static_cast<int32_t>(replicas_.size()); }
  const BlockPool& pool(int32_t replica = 0) const { return replicas_[static_cast<size_t>(replica)].pool(); }
  const SchedulerConfig& config() const { return config_; }

 private:
  using Share = ReplicaState::Share;
  struct ByDeadline {
    bool operator()(const Entry* a, const Entry* b) const {
      return a->job.deadline_us != b->job.deadline_us ? a->job.deadline_us < b->job.deadline_us : a->job.id < b->job.id;
    }
  };
  /// A Job's part in the Batch that is being planned.
  struct Grant {
    Entry* entry = nullptr;
    int32_t tokens = 0;
    Share share = Share::kNone;  // of a long Job that starts with this Batch
  };
  struct Plan {
    std::vector<Grant> grants;  // reserved for batch_spans_max
    int32_t tokens = 0;
    int32_t spare_blocks = 0;     // that long Jobs of this plan will take
    int32_t short_blocks = 0;     // that short Jobs hold and will take, the head's included
    const Entry* head = nullptr;  // the short Job whose turn it is, queries aside: the one that was cut, else by rank
    bool is_small = false;
  };

  // scheduler_plan.cc: which tokens go into the next Batch.
  void plan(const ReplicaState& replica, int32_t tokens_max);
  void plan_long(const ReplicaState& replica, int32_t tokens_max, int32_t spans_max);
  void plan_brief(const ReplicaState& replica, int32_t tokens_max, int32_t spans_max);
  void plan_short(const ReplicaState& replica, int32_t tokens_max);
  void plan_cut(const ReplicaState& replica, int32_t tokens_max);
  void plan_whole(const ReplicaState& replica, int32_t tokens_max);
  bool has_room(int32_t tokens_max, int32_t spans_max) const;
  bool grant_short(const ReplicaState& replica, Entry& entry, int32_t tokens);
  Grant* grant(const ReplicaState& replica, Entry& entry, int32_t tokens_max);
  Batch carry_out(int32_t replica_index);
  void append_span(const Grant& grant, int32_t replica_index, Batch& batch) noexcept;
  void requeue(Entry& entry) noexcept;
  void erase(Entry& entry) noexcept;

  const SchedulerConfig config_;
  std::vector<ReplicaState> replicas_;
  std::unordered_map<uint64_t, Entry> entries_;
  JobQueue queue_;                          // Jobs that have not started
  std::set<Entry*, ByDeadline> deadlines_;  // only finite ones
  Plan plan_;                               // scratch of next_batch()
  int64_t queued_tokens_ = 0;
  uint64_t next_batch_id_ = 1;
};

/// Makes room for `count` more elements, so that inserting their nodes allocates nothing.
template <typename Map>
void reserve_for(Map& map, size_t count) {
  const size_t wanted = map.size() + count;
  if (static_cast<double>(wanted) >
      static_cast<double>(map.bucket_count()) * static_cast<double>(map.max_load_factor()))
    map.reserve(2 * wanted);
}

}  // namespace quern
