#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <utility>

#include "base/clock.h"

namespace quern {
namespace {

constexpr double kRateSmoothing = 0.2;  // weight of the newest step in the token rate
constexpr int kRetryAfterMaxS = 60;
// Clients that wait for answers send their next request just after a Batch has ended. Computing at once would give the
// first few of them a small Batch and let the many others wait for it; so the engine waits for as many Jobs as have
// just ended, for at most this share of the time that they took.
constexpr double kLingerShare = 0.03;

}  // namespace

Engine::Engine(const SchedulerConfig& config, RunBatch run_batch, std::function<void(const StepReport&)> on_step)
    : run_batch_(std::move(run_batch)), on_step_(std::move(on_step)), scheduler_(config) {
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() { drain(); }

Result<std::vector<uint64_t>> Engine::submit(std::vector<Job> jobs) {
  const int64_t now = now_us();
  std::lock_guard lock(mutex_);
  if (draining_) return Error{ErrorCode::kUnavailable, "the server is shutting down", "", 1};

  // The scheduler keeps pointers to the token ids: the Jobs must be at their final address first.
  std::vector<uint64_t> ids;
  std::vector<SchedulerJob> wanted;
  for (Job& job : jobs) {
    job.id = next_job_id_++;
    ids.push_back(job.id);
    const auto it = pending_.emplace(ids.back(), Pending{std::move(job), JobTiming{now, 0, 0}}).first;
    wanted.push_back({it->first, &it->second.job.token_ids, it->second.job.deadline_us, it->second.job.priority});
  }
  if (auto admitted = scheduler_.admit(wanted, now); !admitted) {
    for (uint64_t id : ids) pending_.erase(id);
    Error error = admitted.error();
    if (error.code == ErrorCode::kOverloaded) error.retry_after_s = retry_after_s();
    return error;
  }
  wake_.notify_one();
  return ids;
}

void Engine::cancel(std::span<const uint64_t> job_ids) {
  std::vector<Ended> ended;
  {
    std::lock_guard lock(mutex_);
    for (uint64_t id : job_ids) {
      if (scheduler_.cancel(id)) take_ended(id, Error{ErrorCode::kCancelled, "the client went away", "", 0}, ended);
    }
    wake_.notify_one();
  }
  complete(std::move(ended));
}

void Engine::drain() {
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
    wake_.notify_one();
  }
  std::lock_guard join_lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

EngineStats Engine::stats() const {
  std::lock_guard lock(mutex_);
  return {scheduler_.queued_jobs(), scheduler_.queued_tokens(), scheduler_.live_jobs(), scheduler_.pool().used_count(),
          scheduler_.pool().block_count()};
}

void Engine::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    std::vector<Ended> ended;
    for (uint64_t id : scheduler_.take_expired(now_us())) {
      take_ended(id, Error{ErrorCode::kDeadlineExceeded, "the deadline passed before the vector was ready", "", 0},
                 ended);
    }
    const int64_t now = now_us();
    if (ended.empty() && should_linger(now)) {
      wake_.wait_for(lock, std::chrono::microseconds(linger_until_us_ - now));
      continue;
    }
    const std::optional<Batch> batch = scheduler_.next_batch(now);
    if (batch) mark_started(*batch, now_us());
    const bool idle = !batch && ended.empty();
    if (idle && draining_ && scheduler_.live_jobs() == 0) return;
    if (idle) {
      wake_.wait(lock);  // idle means no live Job: one without a Batch cannot exist while nothing is under way
      continue;
    }
    lock.unlock();
    complete(std::move(ended));
    if (!batch) {
      lock.lock();
      continue;
    }
    const int64_t begin_us = now_us();
    Result<BatchResult> result = run_batch_(*batch);
    const int64_t compute_us = now_us() - begin_us;
    if (on_step_) {
      on_step_({static_cast<int32_t>(batch->token_ids.size()), static_cast<int32_t>(batch->spans.size()), compute_us,
                result.ok()});
    }
    std::vector<Ended> finished;
    lock.lock();
    finish(*batch, std::move(result), compute_us, finished);
    linger_jobs_ = scheduler_.queued_jobs() + static_cast<int32_t>(finished.size());
    lock.unlock();
    complete(std::move(finished));
    lock.lock();
    linger_until_us_ = now_us() + static_cast<int64_t>(kLingerShare * static_cast<double>(compute_us));
  }
}

bool Engine::should_linger(int64_t now) const {
  const SchedulerConfig& config = scheduler_.config();
  return !draining_ && now < linger_until_us_ && scheduler_.queued_jobs() < linger_jobs_ &&
         scheduler_.queued_jobs() < config.batch_spans_max && scheduler_.queued_tokens() < config.batch_tokens_max;
}

void Engine::mark_started(const Batch& batch, int64_t started_us) {
  for (const Span& span : batch.spans) {
    if (span.position_begin == 0) pending_.at(span.job_id).timing.started_us = started_us;
  }
}

void Engine::finish(const Batch& batch, Result<BatchResult> result, int64_t compute_us, std::vector<Ended>& ended) {
  const double rate =
      static_cast<double>(batch.token_ids.size()) * 1e6 / static_cast<double>(std::max<int64_t>(compute_us, 1));
  tokens_per_second_ =
      tokens_per_second_ == 0 ? rate : tokens_per_second_ + kRateSmoothing * (rate - tokens_per_second_);

  if (!result) {
    // Its K/V is not there: every Job aboard fails, also those with more chunks to come.
    for (const Span& span : batch.spans) {
      if (scheduler_.cancel(span.job_id)) take_ended(span.job_id, result.error(), ended);
    }
    (void)scheduler_.finish_batch(batch.id);
    return;
  }
  const std::vector<uint64_t> finished = scheduler_.finish_batch(batch.id);
  size_t row = 0, next = 0;
  for (const Span& span : batch.spans) {
    if (!span.is_last) continue;
    QUERN_CHECK(row < result->vectors.size(), "the runner returned too few vectors");
    Output& vector = result->vectors[row++];
    const bool still_wanted = next < finished.size() && finished[next] == span.job_id;  // not cancelled meanwhile
    if (!still_wanted) continue;
    ++next;
    take_ended(span.job_id, std::move(vector), ended);
  }
}

void Engine::take_ended(uint64_t job_id, Result<Output> outcome, std::vector<Ended>& ended) {
  auto node = pending_.extract(job_id);
  QUERN_CHECK(!node.empty(), "a Job ended twice");
  ended.push_back({std::move(node.mapped()), std::move(outcome)});
}

void Engine::complete(std::vector<Ended> ended) {
  const int64_t now = now_us();
  for (Ended& end : ended) {
    end.pending.timing.finished_us = now;
    end.pending.job.completion(std::move(end.outcome), end.pending.timing);
  }
}

int Engine::retry_after_s() const {
  if (tokens_per_second_ <= 0) return 1;
  const double wait_s = static_cast<double>(scheduler_.queued_tokens()) / tokens_per_second_;
  return std::clamp(static_cast<int>(std::ceil(wait_s)), 1, kRetryAfterMaxS);
}

}  // namespace quern
