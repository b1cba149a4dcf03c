#include "worker/local_replica.h"

#include <exception>
#include <string>
#include <utility>

#include "base/clock.h"

namespace quern {
namespace {

/// Even telling what went wrong may fail for want of memory.
Error error_of(const char* what) noexcept {
  try {
    return internal_error(std::string("the model failed: ") + what);
  } catch (const std::exception&) {
    return Error{};
  }
}

}  // namespace

LocalReplica::LocalReplica(Run run, int32_t batches_max, OnEnd on_end)
    : run_(std::move(run)), on_end_(std::move(on_end)) {
  waiting_.reserve(static_cast<size_t>(batches_max));
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

void LocalReplica::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const Batch batch = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    lock.unlock();
    on_end_(compute(batch));
    lock.lock();
  }
}

BatchEnd LocalReplica::compute(const Batch& batch) const noexcept {
  const int64_t begin_us = now_us();
  BatchEnd end{batch.id, Error{}, 0};
  // Here the libraries that compute enter: what they throw goes no further.
  try {
    end.result = run_(batch);
  } catch (const std::exception& error) {
    end.result = error_of(error.what());
  } catch (...) {
    end.result = error_of("an exception of unknown type");
  }
  end.compute_us = now_us() - begin_us;
  return end;
}

MakeReplica local_replica(LocalReplica::Run run, int32_t batches_max) {
  return [run = std::move(run), batches_max](Replica::OnEnd on_end) -> std::unique_ptr<Replica> {
    return std::make_unique<LocalReplica>(run, batches_max, std::move(on_end));
  };
}

}  // namespace quern
