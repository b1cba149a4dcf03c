#include "sched/queue.h"

#include <utility>

#include "base/check.h"
#include "sched/mutant.h"

namespace quern {

bool ByRank::operator()(const Entry* a, const Entry* b) const {
  if constexpr (kMutant == Mutant::kLastInFirstOut) std::swap(a, b);
  return a->rank_us != b->rank_us ? a->rank_us < b->rank_us : a->job.id < b->job.id;
}

bool ByRemaining::operator()(const Entry* a, const Entry* b) const {
  return a->remaining() != b->remaining() ? a->remaining() < b->remaining() : ByRank()(a, b);
}

void make_places(Entry& entry) {
  RankSet rank{&entry};
  entry.rank_place = rank.extract(rank.begin());
  if (entry.is_short) return;
  RemainingSet remaining{&entry};
  entry.remaining_place = remaining.extract(remaining.begin());
}

void LongJobs::add(Entry& entry) noexcept {
  const bool is_new = by_rank_.insert(std::move(entry.rank_place)).inserted &&
                      by_remaining_.insert(std::move(entry.remaining_place)).inserted;
  QUERN_CHECK(is_new, "a long Job was queued twice");
}

void LongJobs::take(Entry& entry) noexcept {
  entry.rank_place = by_rank_.extract(&entry);
  entry.remaining_place = by_remaining_.extract(&entry);
  QUERN_CHECK(!entry.rank_place.empty() && !entry.remaining_place.empty(), "a long Job was not where it should be");
}

void ShortJobs::add(Entry& entry) noexcept {
  QUERN_CHECK(by_rank_.insert(std::move(entry.rank_place)).inserted, "a short Job was queued twice");
  tokens_ += entry.token_count;
}

void ShortJobs::take(Entry& entry) noexcept {
  entry.rank_place = by_rank_.extract(&entry);
  QUERN_CHECK(!entry.rank_place.empty(), "a short Job was not queued");
  tokens_ -= entry.token_count;
}

void JobQueue::add(Entry& entry) noexcept {
  if (!entry.is_short) return long_.add(entry);
  (entry.is_brief ? brief_ : short_).add(entry);
}

void JobQueue::take(Entry& entry) noexcept {
  if (!entry.is_short) return long_.take(entry);
  (entry.is_brief ? brief_ : short_).take(entry);
}

}  // namespace quern
