#include "sched/scheduler.h"

#include <algorithm>
#include <string>

#include "core/job.h"
#include "sched/mutant.h"

namespace quern {
namespace {

/// What the short Jobs leave over of a Batch for the long ones: never less than half.
int32_t left_over(int32_t limit, int64_t wanted_by_short) {
  if constexpr (kMutant == Mutant::kLongTakesAll) return limit;
  return static_cast<int32_t>(std::max<int64_t>(limit / 2, limit - wanted_by_short));
}

Result<void> check_lengths(const std::vector<SchedulerJob>& jobs, int32_t context_tokens_max) {
  for (const SchedulerJob& job : jobs) {
    const size_t count = job.token_ids->size();
    if (count == 0) return invalid_argument("an input has no tokens");
    if (count > static_cast<size_t>(context_tokens_max)) {
      return invalid_argument("an input has " + std::to_string(count) + " tokens; the context length is " +
                              std::to_string(context_tokens_max));
    }
  }
  return {};
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, int32_t replica_count) : config_(config) {
  QUERN_CHECK(config.batch_tokens_max >= 2 && config.batch_spans_max >= 2,
              "a batch holds at least two tokens and spans");
  QUERN_CHECK(config.batches_in_flight_max >= 1 && config.block_tokens >= 1 && config.long_spans_max >= 1 &&
                  config.skipped_jobs_max >= 0,
              "bad scheduler limits");
  QUERN_CHECK(replica_count >= 1, "a scheduler needs a replica");
  replicas_.reserve(static_cast<size_t>(replica_count));
  for (int32_t r = 0; r < replica_count; ++r) replicas_.emplace_back(config_);
  plan_.grants.reserve(static_cast<size_t>(config.batch_spans_max));
}

Result<void> Scheduler::admit(const std::vector<SchedulerJob>& jobs, int64_t now_us) {
  if (auto checked = check_lengths(jobs, config_.context_tokens_max); !checked) return checked;
  int64_t tokens = 0;
  for (const SchedulerJob& job : jobs) tokens += static_cast<int64_t>(job.token_ids->size());
  if (auto room = check_room(config_, live_jobs(), queued_tokens_, static_cast<int64_t>(jobs.size()), tokens); !room) {
    return room;
  }
  // Everything that allocates comes first and apart.
  std::unordered_map<uint64_t, Entry> fresh;
  std::set<Entry*, ByDeadline> fresh_deadlines;
  for (const SchedulerJob& job : jobs) {
    Entry& entry = fresh.try_emplace(job.id).first->second;
    entry.job = job;
    entry.token_count = static_cast<int32_t>(job.token_ids->size());
    entry.is_short = entry.token_count <= config_.short_tokens_max();
    entry.rank_us = now_us - job.priority * config_.priority_boost_us;
    make_places(entry);
    if (job.deadline_us != kNoDeadline) fresh_deadlines.insert(&entry);
  }
  QUERN_CHECK(fresh.size() == jobs.size(), "a Job id was used twice");
  reserve_for(entries_, fresh.size());
  while (!fresh.empty()) {
    const auto inserted = entries_.insert(fresh.extract(fresh.begin()));
    QUERN_CHECK(inserted.inserted, "a Job id was used twice");
    queue_.add(inserted.position->second);
  }
  deadlines_.merge(fresh_deadlines);
  queued_tokens_ += tokens;
  return {};
}

bool Scheduler::takes_batches(int32_t replica) const {
  const ReplicaState& state = replicas_[static_cast<size_t>(replica)];
  return state.is_up && state.in_flight.size() < static_cast<size_t>(config_.batches_in_flight_max);
}

std::optional<Batch> Scheduler::next_batch(int32_t replica, int32_t tokens_max) {
  tokens_max = std::clamp(tokens_max, 2, config_.batch_tokens_max);
  if (!takes_batches(replica) || queued_tokens_ == 0) return std::nullopt;
  plan_.grants.clear();
  plan_.tokens = plan_.spare_blocks = 0;
  plan_long(replicas_[static_cast<size_t>(replica)], left_over(tokens_max, queue_.short_tokens()),
            left_over(config_.batch_spans_max, static_cast<int64_t>(queue_.short_jobs().size())));
  plan_short(tokens_max);
  if (plan_.grants.empty()) return std::nullopt;
  return carry_out(replica);
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
  const auto& by_remaining = replica.started.by_remaining();
  Entry* here = kAges || by_remaining.empty() ? replica.started.first() : *by_remaining.begin();
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

void Scheduler::plan_short(int32_t tokens_max) {
  int32_t skipped = 0;
  int32_t limit = config_.batch_tokens_max;  // of the first; long Jobs have taken at most half of a Batch
  for (Entry* entry : queue_.short_jobs()) {
    const int32_t room = limit - plan_.tokens;
    limit = tokens_max;
    if (room <= 0 || static_cast<int32_t>(plan_.grants.size()) >= config_.batch_spans_max) return;
    if (entry->token_count > room) {
      if (kMutant != Mutant::kNoSkipLimit && ++skipped > config_.skipped_jobs_max) return;
      continue;
    }
    plan_.grants.push_back({entry, entry->token_count, Share::kNone});
    plan_.tokens += entry->token_count;
  }
}

Batch Scheduler::carry_out(int32_t replica_index) {
  ReplicaState& replica = replicas_[static_cast<size_t>(replica_index)];
  Batch batch;
  batch.id = next_batch_id_;
  std::list<ReplicaState::InFlight> record(1);
  record.front().batch_id = batch.id;
  record.front().tokens = plan_.tokens;
  record.front().aboard.reserve(plan_.grants.size());
  int32_t blocks = 0;
  for (const Grant& grant : plan_.grants) {
    grant.entry->blocks.reserve(static_cast<size_t>(replica.blocks_needed(*grant.entry)));
    blocks += blocks_for_tokens(grant.entry->scheduled_tokens + grant.tokens, config_.block_tokens);
  }
  batch.spans.reserve(plan_.grants.size());
  batch.token_ids.reserve(static_cast<size_t>(plan_.tokens));
  batch.block_ids.reserve(static_cast<size_t>(blocks));

  // From here on nothing allocates, so nothing is left half done.
  for (const Grant& grant : plan_.grants) {
    append_span(grant, replica_index, batch);
    const Span& span = batch.spans.back();
    record.front().aboard.push_back({grant.entry, span.job_id, span.is_last});
  }
  // A replica runs its Batches in order: those to come may have the blocks of what ends with this one.
  for (const auto& aboard : record.front().aboard) {
    if (aboard.is_last) replica.release(*aboard.entry);
  }
  replica.in_flight.splice(replica.in_flight.end(), record);
  ++next_batch_id_;
  return batch;
}

void Scheduler::append_span(const Grant& grant, int32_t replica_index, Batch& batch) noexcept {
  Entry& entry = *grant.entry;
  ReplicaState& replica = replicas_[static_cast<size_t>(replica_index)];
  if (!entry.has_started()) {
    queue_.take(entry);
    replica.start(entry, grant.share);
    entry.replica = replica_index;
  } else {
    replica.started.take(entry);
  }
  Span span;
  span.job_id = entry.job.id;
  span.token_begin = static_cast<int32_t>(batch.token_ids.size());
  span.token_count = grant.tokens;
  span.position_begin = entry.scheduled_tokens;
  span.block_begin = static_cast<int32_t>(batch.block_ids.size());
  span.block_count = blocks_for_tokens(entry.scheduled_tokens + grant.tokens, config_.block_tokens);
  span.is_last = grant.tokens == entry.remaining();

  const auto tokens = entry.job.token_ids->begin() + entry.scheduled_tokens;
  batch.token_ids.insert(batch.token_ids.end(), tokens, tokens + grant.tokens);
  batch.block_ids.insert(batch.block_ids.end(), entry.blocks.begin(), entry.blocks.begin() + span.block_count);
  batch.spans.push_back(span);

  entry.scheduled_tokens += grant.tokens;
  entry.spans_in_flight += 1;
  queued_tokens_ -= grant.tokens;
  if (!span.is_last) replica.started.add(entry);
}

const ReplicaState::InFlight* Scheduler::oldest_in_flight(int32_t replica) const {
  const auto& in_flight = replicas_[static_cast<size_t>(replica)].in_flight;
  return in_flight.empty() ? nullptr : &in_flight.front();
}

std::vector<EndedSpan> Scheduler::finish_batch(int32_t replica, uint64_t batch_id) {
  std::list<ReplicaState::InFlight>& in_flight = replicas_[static_cast<size_t>(replica)].in_flight;
  QUERN_CHECK(!in_flight.empty() && in_flight.front().batch_id == batch_id, "a replica's batches must finish in order");
  std::vector<EndedSpan> ended;
  ended.reserve(in_flight.front().aboard.size());
  for (const auto& [entry, job_id, is_last] : in_flight.front().aboard) {
    entry->spans_in_flight -= 1;
    ended.push_back({job_id, is_last, !entry->removed});
    if (entry->removed ? entry->spans_in_flight == 0 : is_last) erase(*entry);
  }
  in_flight.pop_front();
  return ended;
}

bool Scheduler::cancel(uint64_t job_id) noexcept {
  const auto it = entries_.find(job_id);
  if (it == entries_.end() || it->second.removed) return false;
  Entry& entry = it->second;
  if (entry.remaining() > 0) {
    queued_tokens_ -= entry.remaining();
    if (entry.has_started()) {
      replicas_[static_cast<size_t>(entry.replica)].started.take(entry);
    } else {
      queue_.take(entry);
    }
  }
  deadlines_.erase(&entry);
  entry.removed = true;
  entry.job.token_ids = nullptr;  // the caller may free them now; nothing below reads them again
  if (entry.spans_in_flight == 0) erase(entry);
  return true;
}

void Scheduler::lose(int32_t replica) noexcept {
  ReplicaState& state = replicas_[static_cast<size_t>(replica)];
  state.is_up = false;
  // A Job may be aboard several Batches: its last span settles what becomes of it.
  for (const ReplicaState::InFlight& batch : state.in_flight) {
    for (const auto& [entry, job_id, is_last] : batch.aboard) {
      if (--entry->spans_in_flight > 0) continue;
      entry->deaths += 1;
      if (entry->removed) {
        erase(*entry);
      } else {
        if (entry->remaining() > 0) state.started.take(*entry);
        requeue(*entry);
      }
    }
  }
  state.in_flight.clear();
  while (Entry* entry = state.started.first()) {
    state.started.take(*entry);
    requeue(*entry);
  }
}

void Scheduler::requeue(Entry& entry) noexcept {
  replicas_[static_cast<size_t>(entry.replica)].release(entry);
  entry.replica = kNoReplica;
  queued_tokens_ += entry.scheduled_tokens;
  entry.scheduled_tokens = 0;
  queue_.add(entry);
}

std::optional<uint64_t> Scheduler::next_expired(int64_t now_us) {
  if (nearest_deadline_us() > now_us || deadlines_.empty()) return std::nullopt;
  const uint64_t job_id = (*deadlines_.begin())->job.id;
  QUERN_CHECK(cancel(job_id), "a deadline outlived its Job");
  return job_id;
}

int64_t Scheduler::nearest_deadline_us() const {
  return deadlines_.empty() ? kNoDeadline : (*deadlines_.begin())->job.deadline_us;
}

int32_t Scheduler::queued_jobs() const {
  size_t count = queue_.size();
  for (const ReplicaState& replica : replicas_) count += replica.started.size();
  return static_cast<int32_t>(count);
}

int32_t Scheduler::batches_in_flight() const {
  size_t count = 0;
  for (const ReplicaState& replica : replicas_) count += replica.in_flight.size();
  return static_cast<int32_t>(count);
}

bool Scheduler::is_any_up() const {
  return std::any_of(replicas_.begin(), replicas_.end(), [](const ReplicaState& replica) { return replica.is_up; });
}

void Scheduler::erase(Entry& entry) noexcept {
  if (entry.has_started()) replicas_[static_cast<size_t>(entry.replica)].release(entry);
  deadlines_.erase(&entry);
  const uint64_t job_id = entry.job.id;
  entries_.erase(job_id);
}

}  // namespace quern
