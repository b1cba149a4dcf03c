// Oracle: what must hold of a scheduler at each step, kept apart from how it is done.
//
// Sees what goes into a Scheduler and what comes out, and keeps its own account of every Job. The first thing that does
// not hold is told by violation(). The bounds are those of scheduler.h.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sched/scheduler.h"

namespace quern {

/// How often things happened that a simulation must have seen to mean anything.
struct SimulationProbes {
  int64_t steps = 0;
  int64_t ended = 0;
  int64_t chunks = 0;            // spans that did not end their Job
  int64_t skips = 0;             // a short Job passed over in favour of one that ranks behind it
  int64_t blocked_starts = 0;    // the first long Job that waits had no blocks
  int64_t early_starts = 0;      // a long Job started before one that ranks before it
  int64_t removed_aboard = 0;    // cancelled or expired while aboard
  int64_t lost_aboard = 0;       // its replica was lost while it was aboard
  int64_t small_steps = 0;       // smaller than they may be
  int64_t cuts = 0;              // short Jobs that did not fit such a step whole
  int64_t queries = 0;           // spans of queries
  int64_t several_replicas = 0;  // steps while more than one replica had a Batch in flight
  int64_t longest_wait = 0;      // steps that a Job waited for its last token to go aboard
};

class Oracle {
 public:
  Oracle(const SchedulerConfig& config, int32_t replica_count);

  void on_admitted(const SchedulerJob& job, int64_t now_us);
  /// `tokens_max`: that was asked for.
  void on_batch(int32_t replica, const Batch& batch, int32_t tokens_max);
  void on_finished(int32_t replica, const Batch& batch, const std::vector<EndedSpan>& ended);
  /// Cancelled or expired.
  void on_removed(uint64_t job_id);
  void on_lost(int32_t replica);
  /// After each of the above: the scheduler's own figures.
  void check(const Scheduler& scheduler, int64_t now_us);
  /// Something that the caller saw does not hold.
  void fail(const std::string& what) { require(false, what); }

  bool knows(uint64_t job_id) const { return jobs_.count(job_id) != 0; }
  size_t live_jobs() const { return jobs_.size(); }
  /// Ids of the Jobs that have not ended.
  std::vector<uint64_t> job_ids() const;
  const std::string& violation() const { return violation_; }
  const SimulationProbes& probes() const { return probes_; }

 private:
  using Rank = std::pair<int64_t, uint64_t>;
  enum class Kind { kQuery, kShort, kLong };
  struct JobState {
    std::vector<int32_t> token_ids;
    Rank rank;
    int64_t deadline_us = 0;
    int32_t token_count = 0;
    Kind kind = Kind::kLong;
    int32_t fed_tokens = 0;
    int32_t replica = kNoReplica;
    int32_t spans_in_flight = 0;
    int32_t deaths = 0;
    std::vector<int32_t> table;  // its blocks as far as Batches have shown them
    Rank horizon;                // Jobs of its kind that rank at or before it may delay this one
    int64_t steps = 0;           // since it was admitted, until its last token goes aboard
    int64_t steps_allowed = 0;
    int32_t remaining() const { return token_count - fed_tokens; }
  };

  void require(bool holds, const std::string& what);
  int64_t charge(const JobState& job) const;
  void set_bound(JobState& job);
  void check_spans(int32_t replica, const Batch& batch, int32_t tokens_max, bool is_small);
  void check_table(const Span& span, const Batch& batch, JobState& job);
  using Aboard = std::map<uint64_t, int32_t>;  // Job -> tokens
  /// Of one kind, those that could go aboard there, in the order in which they should.
  std::vector<const JobState*> waiting(int32_t replica, Kind kind) const;
  void check_in_turn(const std::vector<const JobState*>& turns, const Aboard& aboard, int32_t share);
  void check_passed_over(const std::vector<const JobState*>& turns, const Aboard& aboard);
  void check_long_order(int32_t replica, const Aboard& aboard, int32_t long_share);
  void count_step(int32_t replica, const std::set<uint64_t>& waiting_before);
  void forget_table(int32_t replica, JobState& job);

  const SchedulerConfig config_;
  const int32_t least_step_;                         // tokens of the smallest step, if there is as much to do
  std::map<uint64_t, JobState> jobs_;                // admitted and not ended
  std::map<uint64_t, JobState> removed_;             // ended but still aboard
  std::vector<std::map<int32_t, uint64_t>> owners_;  // of each replica: block -> Job
  std::vector<int32_t> in_flight_;                   // Batches, of each replica
  std::string violation_;
  SimulationProbes probes_;
};

}  // namespace quern
