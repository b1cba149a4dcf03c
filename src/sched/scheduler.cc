#include "sched/scheduler.h"

#include <algorithm>
#include <string>

#include "core/job.h"

namespace quern {
namespace {

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
  QUERN_CHECK(check_steps(config).ok(), "a step has no room for a Job of each kind");
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
    entry.is_brief = job.is_brief && entry.token_count <= std::min(config_.brief_tokens(), config_.short_tokens_max());
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
  if (!takes_batches(replica) || queued_tokens_ == 0) return std::nullopt;
  if (!queue_.brief_jobs().empty()) tokens_max = std::min(tokens_max, config_.small_batch_tokens_max());
  plan(replicas_[static_cast<size_t>(replica)], std::clamp(tokens_max, 2, config_.batch_tokens_max));
  if (plan_.grants.empty()) return std::nullopt;
  return carry_out(replica);
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
    replica.let_go(entry);
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
  if (!span.is_last) replica.hold(entry);
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
      replicas_[static_cast<size_t>(entry.replica)].let_go(entry);
    } else {
      queue_.take(entry);
    }
  }
  deadlines_.erase(&entry);
  // As with a Job's last tokens: the Batches to come run after those that read its blocks.
  if (entry.has_started()) replicas_[static_cast<size_t>(entry.replica)].release(entry);
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
        if (entry->remaining() > 0) state.let_go(*entry);
        requeue(*entry);
      }
    }
  }
  state.in_flight.clear();
  while (Entry* entry = state.any_held()) {
    state.let_go(*entry);
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
  for (const ReplicaState& replica : replicas_) count += replica.held_jobs();
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
