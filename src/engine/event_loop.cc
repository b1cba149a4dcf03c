#include "engine/event_loop.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/embedder.h"

namespace quern {
namespace {

constexpr double kRateSmoothing = 0.2;  // weight of the newest step in the token rate
constexpr int kRetryAfterMaxS = 60;

size_t ending_spans(const ReplicaState::InFlight& batch) {
  return static_cast<size_t>(
      std::count_if(batch.aboard.begin(), batch.aboard.end(), [](const auto& aboard) { return aboard.is_last; }));
}

/// A replica's answer is not trusted further than this: it may be another process.
Result<void> check_answer(const BatchEnd& end, const ReplicaState::InFlight& batch) {
  if (!end.result) return end.result.error();
  const BatchResult& result = *end.result;
  if (result.batch_id != end.batch_id) {
    return internal_error("the replica answered batch " + std::to_string(end.batch_id) + " with the result of batch " +
                          std::to_string(result.batch_id));
  }
  const size_t expected = ending_spans(batch);
  if (result.vectors.size() != expected) {
    return internal_error("the replica returned " + std::to_string(result.vectors.size()) + " vectors for batch " +
                          std::to_string(end.batch_id) + ", expected " + std::to_string(expected));
  }
  return {};
}

Error no_replica_left() {
  return {ErrorCode::kUnavailable, "the model's device has failed: the server must be started again", "", 1};
}

Error down_while_draining() {
  return {ErrorCode::kUnavailable, "the server is shutting down, and no replica of the model is up", "", 1};
}

}  // namespace

Result<void> check_config(const EngineConfig& config) {
  if (!(config.linger_share >= 0) || config.linger_us_max < 0 || config.retry_us < 1) {
    return invalid_argument("the engine's linger and retry times must not be negative");
  }
  return check_config(config.scheduler);
}

EventLoop::EventLoop(const EngineConfig& config, int32_t replica_count, StartBatch start)
    : config_(config),
      start_(std::move(start)),
      scheduler_(config.scheduler, replica_count),
      replicas_(static_cast<size_t>(replica_count)) {
  for (Waiting& waiting : replicas_) waiting.ends.reserve(static_cast<size_t>(config.scheduler.batches_in_flight_max));
}

Result<std::vector<uint64_t>> EventLoop::submit(std::vector<Job> jobs, int64_t now_us) {
  if (draining_) return shutting_down();
  if (is_none_left_) return no_replica_left();
  // Everything that allocates comes first and apart. The scheduler keeps pointers to the token ids: the Jobs are at
  // their final address.
  std::list<LiveJob> fresh;
  std::unordered_map<uint64_t, std::list<LiveJob>::iterator> fresh_ids;
  std::vector<uint64_t> ids;
  std::vector<SchedulerJob> wanted;
  const bool is_brief = this->is_brief(jobs);
  for (Job& job : jobs) {
    job.id = next_job_id_++;
    ids.push_back(job.id);
    fresh.push_back({std::move(job), JobTiming{now_us, 0, 0}});
    const Job& kept = fresh.back().job;
    fresh_ids.emplace(kept.id, std::prev(fresh.end()));
    wanted.push_back({kept.id, &kept.token_ids, kept.deadline_us, kept.priority, is_brief});
  }
  reserve_for(by_id_, fresh_ids.size());
  if (auto admitted = scheduler_.admit(wanted, now_us); !admitted) return with_retry_after(admitted.error());
  while (!fresh_ids.empty()) by_id_.insert(fresh_ids.extract(fresh_ids.begin()));
  live_.splice(live_.end(), fresh);
  if (is_brief) brief_until_us_ = now_us + config_.scheduler.brief_hold_us;
  publish();
  return ids;
}

bool EventLoop::is_brief(const std::vector<Job>& request) const {
  size_t tokens = 0;
  for (const Job& job : request) tokens += job.token_ids.size();
  return tokens > 0 && tokens <= static_cast<size_t>(config_.scheduler.brief_tokens());
}

void EventLoop::cancel(std::span<const uint64_t> job_ids, EndedJobs& ended) {
  for (const uint64_t id : job_ids) {
    const auto it = by_id_.find(id);
    if (it == by_id_.end()) continue;
    it->second->outcome = Error{ErrorCode::kCancelled, "the client went away", "", 0};
    QUERN_CHECK(scheduler_.cancel(id), "the scheduler does not know a live Job");
    move_to_ended(id, ended);
  }
  publish();
}

void EventLoop::batch_ended(int32_t replica, BatchEnd end) noexcept {
  // What is not in flight any more was lost with an earlier life of the replica.
  const ReplicaState::InFlight* oldest = scheduler_.oldest_in_flight(replica);
  if (oldest == nullptr || end.batch_id < oldest->batch_id) return;
  // One that answers more often than it was asked is not listened to: nobody waits for the rest.
  std::vector<BatchEnd>& ends = replicas_[static_cast<size_t>(replica)].ends;
  if (ends.size() < ends.capacity()) ends.push_back(std::move(end));
}

void EventLoop::lose(int32_t replica) noexcept {
  scheduler_.lose(replica);
  replicas_[static_cast<size_t>(replica)].ends.clear();
  publish();
}

void EventLoop::restore(int32_t replica) {
  scheduler_.restore(replica);
  set_gone(replica, false);
}

void EventLoop::set_gone(int32_t replica, bool is_gone) noexcept {
  replicas_[static_cast<size_t>(replica)].is_gone = is_gone;
  is_none_left_ = std::all_of(replicas_.begin(), replicas_.end(), [](const Waiting& one) { return one.is_gone; });
}

int64_t EventLoop::step(int64_t now_us, Turn& turn) {
  expire(now_us, turn);
  int64_t wake_us = kNeverUs;
  for (int32_t r = 0; r < scheduler_.replica_count(); ++r) take_in(r, turn);
  if (is_none_left_) fail_all(no_replica_left(), turn);
  if (draining_ && !scheduler_.is_any_up()) fail_all(down_while_draining(), turn);
  for (int32_t r = 0; r < scheduler_.replica_count(); ++r) {
    Waiting& waiting = replicas_[static_cast<size_t>(r)];
    if (should_linger(waiting, now_us)) {
      // The clients' answers come first: only then can they send again.
      if (waiting.linger_until_us == 0 && turn.ended.empty()) waiting.linger_until_us = now_us + waiting.linger_us;
      wake_us = std::min(wake_us, waiting.linger_until_us == 0 ? now_us : waiting.linger_until_us);
      continue;
    }
    while (auto batch = next_batch(r, now_us)) {
      waiting.linger_us = 0;
      mark_started(*batch, now_us);
      start_(r, std::move(*batch));
    }
  }
  publish();
  return std::min(wake_us, scheduler_.nearest_deadline_us());
}

/// Of the next Batch.
int32_t EventLoop::batch_tokens_max(int64_t now_us) const {
  const SchedulerConfig& limits = config_.scheduler;
  return is_brief_time(now_us) ? limits.small_batch_tokens_max() : limits.batch_tokens_max;
}

/// While queries come, what they wait for is what is under way: one small Batch.
std::optional<Batch> EventLoop::next_batch(int32_t replica, int64_t now_us) {
  if (is_brief_time(now_us) && scheduler_.oldest_in_flight(replica) != nullptr) return std::nullopt;
  return scheduler_.next_batch(replica, batch_tokens_max(now_us));
}

void EventLoop::expire(int64_t now_us, Turn& turn) {
  while (scheduler_.nearest_deadline_us() <= now_us && scheduler_.nearest_deadline_us() != kNoDeadline) {
    Result<Output> outcome =
        Error{ErrorCode::kDeadlineExceeded, "the deadline passed before the vector was ready", "", 0};
    const uint64_t id = scheduler_.next_expired(now_us).value();
    by_id_.at(id)->outcome = std::move(outcome);
    move_to_ended(id, turn.ended);
  }
}

/// Nobody is left to compute them.
void EventLoop::fail_all(const Error& error, Turn& turn) {
  while (!live_.empty()) {
    const uint64_t id = live_.front().job.id;
    live_.front().outcome = error;
    QUERN_CHECK(scheduler_.cancel(id), "the scheduler does not know a live Job");
    move_to_ended(id, turn.ended);
  }
}

void EventLoop::take_in(int32_t replica, Turn& turn) {
  std::vector<BatchEnd>& ends = replicas_[static_cast<size_t>(replica)].ends;
  while (!ends.empty()) {
    const bool is_lost = ends.front().is_lost;
    end_batch(replica, ends.front(), turn);
    if (is_lost) {
      lose(replica);  // which clears `ends`
      set_gone(replica, true);
      return;
    }
    ends.erase(ends.begin());
  }
}

void EventLoop::end_batch(int32_t replica, BatchEnd& end, Turn& turn) {
  // A replica answers in order: Batches before the one that it answers are lost.
  const ReplicaState::InFlight* oldest = scheduler_.oldest_in_flight(replica);
  if (oldest == nullptr || end.batch_id < oldest->batch_id) return;
  while (oldest != nullptr && oldest->batch_id != end.batch_id) {
    fail_oldest(replica,
                internal_error("the replica answered batch " + std::to_string(end.batch_id) + " instead of batch " +
                               std::to_string(oldest->batch_id)),
                turn);
    oldest = scheduler_.oldest_in_flight(replica);
  }
  if (oldest == nullptr) return;
  const StepReport report{oldest->tokens, static_cast<int32_t>(oldest->aboard.size()), end.compute_us, true};
  turn.reports.reserve(turn.reports.size() + 1);
  if (auto answer = check_answer(end, *oldest); !answer) {
    fail_oldest(replica, answer.error(), turn);
    turn.reports.push_back(report);
    turn.reports.back().ok = false;
    turn.reports.back().is_lost = end.is_lost;
    return;
  }
  const int64_t finished = finish_oldest(replica, *end.result, turn);
  turn.reports.push_back(report);
  measure_rate(report.batch_tokens, end.compute_us);
  Waiting& waiting = replicas_[static_cast<size_t>(replica)];
  waiting.linger_jobs = scheduler_.queued_jobs() + static_cast<int32_t>(finished);
  waiting.linger_us =
      std::min(config_.linger_us_max, static_cast<int64_t>(config_.linger_share * static_cast<double>(end.compute_us)));
  waiting.linger_until_us = 0;
}

/// Its K/V is not there: every Job aboard fails, also those with more chunks to come.
void EventLoop::fail_oldest(int32_t replica, const Error& error, Turn& turn) {
  const ReplicaState::InFlight* batch = scheduler_.oldest_in_flight(replica);
  for (const auto& aboard : batch->aboard) {
    const auto it = by_id_.find(aboard.job_id);
    if (it == by_id_.end()) continue;
    it->second->outcome = error;
    QUERN_CHECK(scheduler_.cancel(aboard.job_id), "the scheduler does not know a live Job");
    move_to_ended(aboard.job_id, turn.ended);
  }
  (void)scheduler_.finish_batch(replica, batch->batch_id);
}

/// The number of Jobs that ended.
int64_t EventLoop::finish_oldest(int32_t replica, BatchResult& result, Turn& turn) {
  const uint64_t batch_id = scheduler_.oldest_in_flight(replica)->batch_id;
  const std::vector<EndedSpan> spans = scheduler_.finish_batch(replica, batch_id);
  size_t row = 0;
  int64_t finished = 0;
  for (const EndedSpan& span : spans) {
    if (!span.is_last) continue;
    Output& output = result.vectors[row++];
    if (!span.is_live) continue;
    by_id_.at(span.job_id)->outcome = std::move(output);
    move_to_ended(span.job_id, turn.ended);
    ++finished;
  }
  return finished;
}

bool EventLoop::should_linger(const Waiting& waiting, int64_t now_us) const {
  const bool is_over = waiting.linger_until_us != 0 && now_us >= waiting.linger_until_us;
  return !draining_ && waiting.linger_us > 0 && !is_over && scheduler_.queued_jobs() < waiting.linger_jobs &&
         scheduler_.queued_jobs() < config_.scheduler.batch_spans_max &&
         scheduler_.queued_tokens() < batch_tokens_max(now_us);
}

void EventLoop::mark_started(const Batch& batch, int64_t now_us) {
  for (const Span& span : batch.spans) {
    JobTiming& timing = by_id_.at(span.job_id)->timing;
    if (timing.started_us == 0) timing.started_us = now_us;
  }
}

void EventLoop::move_to_ended(uint64_t job_id, EndedJobs& ended) noexcept {
  const auto it = by_id_.find(job_id);
  QUERN_CHECK(it != by_id_.end(), "a Job ended twice");
  ended.splice(ended.end(), live_, it->second);
  by_id_.erase(it);
}

void EventLoop::measure_rate(int32_t tokens, int64_t compute_us) {
  const double rate = static_cast<double>(tokens) * 1e6 / static_cast<double>(std::max<int64_t>(compute_us, 1));
  const double before = tokens_per_second_;
  tokens_per_second_ = before == 0 ? rate : before + kRateSmoothing * (rate - before);
}

int EventLoop::retry_after_s() const {
  const double rate = tokens_per_second_ * static_cast<double>(replicas_.size());
  if (rate <= 0) return 1;
  const double wait_s = static_cast<double>(queued_tokens_) / rate;
  return static_cast<int>(std::clamp(std::ceil(wait_s), 1.0, static_cast<double>(kRetryAfterMaxS)));
}

void EventLoop::publish() noexcept {
  queued_tokens_.store(scheduler_.queued_tokens(), std::memory_order_relaxed);
  live_jobs_.store(scheduler_.live_jobs(), std::memory_order_relaxed);
}

Result<void> EventLoop::room(int64_t jobs, int64_t tokens) const {
  if (draining_) return shutting_down();
  if (is_none_left_) return no_replica_left();
  auto free = check_room(config_.scheduler, live_jobs_.load(std::memory_order_relaxed),
                         queued_tokens_.load(std::memory_order_relaxed), jobs, tokens);
  return free ? free : with_retry_after(free.error());
}

Error EventLoop::with_retry_after(Error error) const {
  if (error.code == ErrorCode::kOverloaded) error.retry_after_s = retry_after_s();
  return error;
}

}  // namespace quern
