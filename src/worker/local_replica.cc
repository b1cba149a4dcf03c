#include "worker/local_replica.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "worker/runner.h"
#include "worker/without_exceptions.h"

namespace quern {
namespace {

/// How often a thread that may get another Batch looks whether the device has computed the one it has.
constexpr auto kPollTime = std::chrono::microseconds(20);

}  // namespace

LocalReplica::LocalReplica(Model model, int32_t batches_max, OnEnd on_end)
    : model_(std::move(model)), batches_max_(static_cast<size_t>(batches_max)), on_end_(std::move(on_end)) {
  waiting_.reserve(batches_max_);
  begun_.reserve(batches_max_);
  thread_ = std::thread([this] { loop(); });
}

LocalReplica::~LocalReplica() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void LocalReplica::start(Batch batch) noexcept {
  std::lock_guard lock(mutex_);
  QUERN_CHECK(waiting_.size() < waiting_.capacity(), "more batches in flight than the replica was made for");
  waiting_.push_back(std::move(batch));
  wake_.notify_one();
}

/// What is done is ended first; then the device is given what waits, before it runs dry.
void LocalReplica::loop() {
  std::unique_lock lock(mutex_);
  const auto has_news = [this] { return stopping_ || !waiting_.empty(); };
  while (!stopping_) {
    if (!begun_.empty() && (begun_.size() == batches_max_ || is_oldest_done())) {
      lock.unlock();
      on_end_(end_oldest());
      lock.lock();
    } else if (!waiting_.empty()) {
      const Batch batch = std::move(waiting_.front());
      waiting_.erase(waiting_.begin());
      lock.unlock();
      begin(batch);
      lock.lock();
    } else if (!begun_.empty()) {
      wake_.wait_for(lock, kPollTime, has_news);
    } else {
      wake_.wait(lock, has_news);
    }
  }
}

void LocalReplica::begin(const Batch& batch) noexcept {
  Begun begun{batch.id, now_us(), {}};
  begun.started = without_exceptions([&] { return model_.start(batch); });
  begun_.push_back(std::move(begun));
}

BatchEnd LocalReplica::end_oldest() noexcept {
  const Begun oldest = std::move(begun_.front());
  begun_.erase(begun_.begin());
  BatchEnd end{oldest.batch_id, Error{}, 0, false};
  if (oldest.started) {
    end.result = without_exceptions([&] { return model_.finish(); });
  } else {
    end.result = oldest.started.error();
  }
  // Until the one before it had ended, the device computed that.
  const int64_t end_us = now_us();
  end.compute_us = end_us - std::max(oldest.begin_us, last_end_us_);
  last_end_us_ = end_us;
  end.is_lost = !end.result && model_.is_lost();
  return end;
}

MakeReplica local_replica(RunBatch run, int32_t batches_max) {
  return [run = std::move(run), batches_max](Replica::OnEnd on_end) -> std::unique_ptr<Replica> {
    const auto result = std::make_shared<Result<BatchResult>>(Error{});
    const LocalReplica::Model model{[run, result](const Batch& batch) -> Result<void> {
                                      *result = run(batch);
                                      return {};
                                    },
                                    [result] { return std::move(*result); }, [] { return true; }, [] { return false; }};
    return std::make_unique<LocalReplica>(model, batches_max, std::move(on_end));
  };
}

MakeReplica local_replica(LocalRunner& runner, int32_t batches_max) {
  return [&runner, batches_max](Replica::OnEnd on_end) -> std::unique_ptr<Replica> {
    const LocalReplica::Model model{[&runner](const Batch& batch) { return runner.start(batch); },
                                    [&runner] { return runner.finish(); }, [&runner] { return runner.is_done(); },
                                    [&runner] { return runner.is_lost(); }};
    return std::make_unique<LocalReplica>(model, batches_max, std::move(on_end));
  };
}

}  // namespace quern
