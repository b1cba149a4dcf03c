// The half of Scheduler that chooses the tokens of the next Batch. It changes the plan alone.
#include <algorithm>

#include "sched/mutant.h"
#include "sched/scheduler.h"

namespace quern {
namespace {

/// What the short Jobs leave over of a Batch for the long ones: never less than half.
int32_t left_over(int32_t limit, int64_t wanted_by_short) {
  if constexpr (kMutant == Mutant::kLongTakesAll) return limit;
  return static_cast<int32_t>(std::max<int64_t>(limit / 2, limit - wanted_by_short));
}

}  // namespace

void Scheduler::plan(const ReplicaState& replica, int32_t tokens_max) {
  const Entry* cut = replica.cut();
  const ShortJobs &brief = queue_.brief_jobs(), &other = queue_.short_jobs();
  const int64_t other_tokens = other.tokens() + (cut != nullptr ? cut->remaining() : 0);
  plan_.grants.clear();
  plan_.tokens = plan_.spare_blocks = 0;
  plan_.head = cut != nullptr || other.empty() ? cut : *other.by_rank().begin();
  plan_.short_blocks = plan_.head != nullptr ? replica.blocks_needed(*plan_.head) : 0;
  plan_.is_small = tokens_max < config_.batch_tokens_max || !brief.empty();
  plan_long(replica, left_over(tokens_max, brief.tokens() + other_tokens),
            left_over(config_.batch_spans_max, static_cast<int64_t>(brief.size() + other.size()) + (cut != nullptr)));
  if constexpr (kMutant == Mutant::kQueriesWait) plan_short(replica, tokens_max);
  if constexpr (kMutant == Mutant::kQueriesTakeAll) {
    plan_brief(replica, tokens_max, config_.batch_spans_max);
  } else {
    const int64_t kept = std::min<int64_t>(SchedulerConfig::short_share(tokens_max), other_tokens);
    plan_brief(replica, tokens_max - static_cast<int32_t>(kept), config_.batch_spans_max - (plan_.head != nullptr));
  }
  if constexpr (kMutant != Mutant::kQueriesWait) plan_short(replica, tokens_max);
}

/// Gives a long Job its tokens, unless it has not started and must wait for blocks: then null.
Scheduler::Grant* Scheduler::grant(const ReplicaState& replica, Entry& entry, int32_t tokens_max) {
  Share share = Share::kNone;
  if (!entry.has_started()) {
    share = replica.share_for(entry, &entry == queue_.long_jobs().first(), plan_.spare_blocks);
    if (share == Share::kNone) return nullptr;
    if (share == Share::kSpare || kMutant == Mutant::kNoSetAside) plan_.spare_blocks += replica.blocks_needed(entry);
  }
  plan_.grants.push_back({&entry, std::min(entry.remaining(), tokens_max), share});
  plan_.tokens += plan_.grants.back().tokens;
  return &plan_.grants.back();
}

void Scheduler::plan_long(const ReplicaState& replica, int32_t tokens_max, int32_t spans_max) {
  spans_max = std::min(spans_max, config_.long_spans_max);
  // Half goes to the Job that ranks first, here or among those that have not started: so every Job's turn comes.
  constexpr bool kAges = kMutant != Mutant::kNoAgeing;
  const auto& by_remaining = replica.started().by_remaining();
  Entry* here = kAges || by_remaining.empty() ? replica.started().first() : *by_remaining.begin();
  Entry* waiting = queue_.long_jobs().first();
  const int32_t half = (tokens_max + 1) / 2;
  Grant* first = nullptr;
  if (waiting != nullptr && (here == nullptr || (kAges && ByRank()(waiting, here)))) {
    first = grant(replica, *waiting, half);
  }
  if (first == nullptr && here != nullptr) first = grant(replica, *here, half);
  // The rest goes to the shortest. Of those that have not started, one that must wait for blocks stands for all that
  // are longer.
  auto started = by_remaining.begin();
  const auto started_end = by_remaining.end();
  auto fresh = queue_.long_jobs().by_remaining().begin();
  const auto fresh_end = queue_.long_jobs().by_remaining().end();
  while (plan_.tokens < tokens_max && static_cast<int32_t>(plan_.grants.size()) < spans_max) {
    const bool has_fresh = fresh != fresh_end;
    if (started == started_end && !has_fresh) break;
    const bool take_fresh = has_fresh && (started == started_end || ByRemaining()(*fresh, *started));
    Entry& entry = take_fresh ? **fresh++ : **started++;
    if (first != nullptr && &entry == first->entry) continue;
    if (grant(replica, entry, tokens_max - plan_.tokens) == nullptr) fresh = fresh_end;
  }
  if (first == nullptr) return;
  const int32_t more = std::min(tokens_max - plan_.tokens, first->entry->remaining() - first->tokens);
  first->tokens += more;
  plan_.tokens += more;
}

bool Scheduler::has_room(int32_t tokens_max, int32_t spans_max) const {
  return plan_.tokens < tokens_max && static_cast<int32_t>(plan_.grants.size()) < spans_max;
}

/// False when it does not fit what short Jobs may hold of the blocks beside those before it and the head's.
bool Scheduler::grant_short(const ReplicaState& replica, Entry& entry, int32_t tokens) {
  if (&entry != plan_.head) {
    const int32_t blocks = plan_.short_blocks + replica.blocks_needed(entry);
    if (blocks > config_.short_blocks()) return false;
    plan_.short_blocks = blocks;
  }
  plan_.grants.push_back({&entry, tokens, Share::kNone});
  plan_.tokens += tokens;
  return true;
}

void Scheduler::plan_brief(const ReplicaState& replica, int32_t tokens_max, int32_t spans_max) {
  for (Entry* entry : queue_.brief_jobs().by_rank()) {
    if (!has_room(tokens_max, spans_max) || entry->token_count > tokens_max - plan_.tokens) return;
    if (!grant_short(replica, *entry, entry->token_count)) return;
  }
}

void Scheduler::plan_short(const ReplicaState& replica, int32_t tokens_max) {
  if (Entry* cut = replica.cut(); cut != nullptr && has_room(tokens_max, config_.batch_spans_max))
    (void)grant_short(replica, *cut, std::min(cut->remaining(), tokens_max - plan_.tokens));
  if (plan_.is_small && kMutant != Mutant::kNeverCut) {
    plan_cut(replica, tokens_max);
  } else {
    plan_whole(replica, tokens_max);
  }
}

/// Of a small Batch: strictly by rank, and of the last one as much as there is room for.
void Scheduler::plan_cut(const ReplicaState& replica, int32_t tokens_max) {
  for (Entry* entry : queue_.short_jobs().by_rank()) {
    if (!has_room(tokens_max, config_.batch_spans_max)) return;
    if (!grant_short(replica, *entry, std::min(entry->token_count, tokens_max - plan_.tokens))) return;
  }
}

/// Of a full Batch: the first always fits, as long Jobs have taken at most half.
void Scheduler::plan_whole(const ReplicaState& replica, int32_t tokens_max) {
  int32_t skipped = 0;
  for (Entry* entry : queue_.short_jobs().by_rank()) {
    if (!has_room(tokens_max, config_.batch_spans_max)) return;
    if (entry->token_count > tokens_max - plan_.tokens) {
      if (kMutant != Mutant::kNoSkipLimit && ++skipped > config_.skipped_jobs_max) return;
      continue;
    }
    if (!grant_short(replica, *entry, entry->token_count)) return;
  }
}

}  // namespace quern
