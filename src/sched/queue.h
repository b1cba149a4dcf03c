// The order of Jobs: which of those that wait goes next.
//
// An Entry is a Job in the scheduler. It brings its places (set nodes) with it, so that moving it between the queue and
// a replica allocates nothing and cannot fail. Sets hold pointers to Entries; the scheduler owns the Entries.
// Not thread-safe: the scheduler is the only user.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

namespace quern {

/// What the scheduler needs to know of a Job. `token_ids` must outlive the Job's stay in the scheduler.
struct SchedulerJob {
  uint64_t id = 0;
  const std::vector<int32_t>* token_ids = nullptr;
  int64_t deadline_us = 0;
  int32_t priority = 0;
  bool is_brief = false;  // of a request that somebody waits for: see SchedulerConfig::brief_tokens()
};

struct Entry;

/// By rank = arrival - priority x boost; ids grow with arrival, so equal ranks stay first in, first out.
struct ByRank {
  bool operator()(const Entry* a, const Entry* b) const;
};
/// The fewest tokens to go first, then by rank.
struct ByRemaining {
  bool operator()(const Entry* a, const Entry* b) const;
};
using RankSet = std::set<Entry*, ByRank>;
using RemainingSet = std::set<Entry*, ByRemaining>;

constexpr int32_t kNoReplica = -1;

struct Entry {
  SchedulerJob job;
  int64_t rank_us = 0;
  int32_t token_count = 0;
  bool is_short = false;
  bool is_brief = false;  // and short

  int32_t replica = kNoReplica;  // where its K/V is, once it has started
  bool in_spare = false;         // its blocks are of the spare share
  bool removed = false;          // cancelled or expired while aboard a Batch
  int32_t scheduled_tokens = 0;  // tokens already put into Batches
  int32_t spans_in_flight = 0;
  int32_t deaths = 0;  // replicas lost while it was aboard one of their Batches
  std::vector<int32_t> blocks;

  RankSet::node_type rank_place;            // held here while the Entry is in no set
  RemainingSet::node_type remaining_place;  // only of long Jobs

  int32_t remaining() const { return token_count - scheduled_tokens; }
  bool has_started() const { return replica != kNoReplica; }
};

/// Gives a new Entry its places. The only thing in this file that allocates.
void make_places(Entry& entry);

/// Long Jobs in both of their orders.
class LongJobs {
 public:
  void add(Entry& entry) noexcept;
  void take(Entry& entry) noexcept;
  bool empty() const { return by_rank_.empty(); }
  size_t size() const { return by_rank_.size(); }
  /// The one that ranks first; null when empty.
  Entry* first() const { return by_rank_.empty() ? nullptr : *by_rank_.begin(); }
  const RemainingSet& by_remaining() const { return by_remaining_; }

 private:
  RankSet by_rank_;
  RemainingSet by_remaining_;
};

/// Short Jobs by rank.
class ShortJobs {
 public:
  void add(Entry& entry) noexcept;
  void take(Entry& entry) noexcept;
  const RankSet& by_rank() const { return by_rank_; }
  bool empty() const { return by_rank_.empty(); }
  size_t size() const { return by_rank_.size(); }
  int64_t tokens() const { return tokens_; }

 private:
  RankSet by_rank_;
  int64_t tokens_ = 0;
};

/// Jobs that have not started.
class JobQueue {
 public:
  void add(Entry& entry) noexcept;
  void take(Entry& entry) noexcept;
  const ShortJobs& brief_jobs() const { return brief_; }
  /// The short ones that are not brief.
  const ShortJobs& short_jobs() const { return short_; }
  const LongJobs& long_jobs() const { return long_; }
  size_t size() const { return brief_.size() + short_.size() + long_.size(); }

 private:
  ShortJobs brief_;
  ShortJobs short_;
  LongJobs long_;
};

}  // namespace quern
