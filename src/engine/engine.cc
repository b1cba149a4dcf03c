#include "engine/engine.h"

#include <chrono>
#include <exception>
#include <utility>

#include "base/clock.h"

namespace quern {

Engine::Engine(const EngineConfig& config, const std::vector<MakeReplica>& replicas, EngineHooks hooks)
    : config_(config),
      hooks_(std::move(hooks)),
      events_(config, static_cast<int32_t>(replicas.size()), [this](int32_t replica, Batch batch) {
        replicas_[static_cast<size_t>(replica)]->start(std::move(batch));
      }) {
  for (const MakeReplica& make : replicas) {
    const auto index = static_cast<int32_t>(replicas_.size());
    replicas_.push_back(make([this, index](BatchEnd end) {
      std::lock_guard lock(mutex_);
      events_.batch_ended(index, std::move(end));
      wake();
    }));
  }
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() { drain(); }

Result<std::vector<uint64_t>> Engine::submit(std::vector<Job> jobs) {
  std::lock_guard lock(mutex_);
  auto ids = events_.submit(std::move(jobs), now_us());
  if (ids) wake();
  return ids;
}

void Engine::cancel(std::span<const uint64_t> job_ids) {
  EndedJobs ended;
  {
    std::lock_guard lock(mutex_);
    try {
      events_.cancel(job_ids, ended);
    } catch (const std::exception& error) {
      failed(error.what());  // the rest is computed for nobody
    }
    wake();
  }
  complete(ended);
}

Result<void> Engine::room(int64_t jobs, int64_t tokens) const { return events_.room(jobs, tokens); }

void Engine::lose(int32_t replica) {
  std::lock_guard lock(mutex_);
  events_.lose(replica);
  wake();
}

void Engine::restore(int32_t replica) {
  std::lock_guard lock(mutex_);
  events_.restore(replica);
  wake();
}

void Engine::drain() {
  {
    std::lock_guard lock(mutex_);
    events_.begin_drain();
    wake();
  }
  std::lock_guard join_lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

EngineStats Engine::stats() const {
  std::lock_guard lock(mutex_);
  const Scheduler& scheduler = events_.scheduler();
  EngineStats stats{scheduler.queued_jobs(), scheduler.queued_tokens(), scheduler.live_jobs(), 0};
  for (int32_t r = 0; r < scheduler.replica_count(); ++r) stats.blocks_used += scheduler.pool(r).used_count();
  return stats;
}

void Engine::loop() {
  Turn turn;
  std::unique_lock lock(mutex_);
  while (true) {
    is_awake_ = false;
    const int64_t wake_us = step(turn);
    if (!turn.ended.empty() || !turn.reports.empty()) {
      lock.unlock();
      deliver(turn);
      lock.lock();
      continue;
    }
    if (events_.is_drained()) return;
    const auto is_awake = [this] { return is_awake_; };
    if (wake_us == EventLoop::kNeverUs) {
      wake_.wait(lock, is_awake);
    } else {
      wake_.wait_until(lock, std::chrono::steady_clock::time_point(std::chrono::microseconds(wake_us)), is_awake);
    }
  }
}

/// A step that fails has changed nothing by halves: the next one, a moment later, goes on from there.
int64_t Engine::step(Turn& turn) {
  const int64_t now = now_us();
  try {
    return events_.step(now, turn);
  } catch (const std::exception& error) {
    failed(error.what());
    return now + config_.retry_us;
  }
}

void Engine::deliver(Turn& turn) {
  for (const StepReport& report : turn.reports) {
    try {
      if (hooks_.on_step) hooks_.on_step(report);
    } catch (const std::exception& error) {
      failed(error.what());
    }
  }
  turn.reports.clear();
  complete(turn.ended);
}

void Engine::complete(EndedJobs& ended) {
  const int64_t now = now_us();
  for (; !ended.empty(); ended.pop_front()) {
    LiveJob& end = ended.front();
    end.timing.finished_us = now;
    try {
      end.job.completion(std::move(end.outcome), end.timing);
    } catch (const std::exception& error) {
      failed(error.what());
    }
  }
}

void Engine::failed(std::string_view what) noexcept {
  try {
    if (hooks_.on_failure) hooks_.on_failure(what);
  } catch (const std::exception&) {  // a log that cannot be written must not end the engine
  }
}

void Engine::wake() {
  is_awake_ = true;
  wake_.notify_one();
}

}  // namespace quern
