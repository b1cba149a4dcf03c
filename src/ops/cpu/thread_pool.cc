#include "ops/cpu/thread_pool.h"

#include <utility>

namespace quern {
namespace {

constexpr int kSpins = 4000;  // about 100 us: longer than the gap between two ops, far shorter than between two batches

inline void pause() { __builtin_ia32_pause(); }

}  // namespace

ThreadPool::ThreadPool(int threads, const std::function<void()>& on_start) {
  try {
    for (int t = 1; t < threads; ++t) {
      workers_.emplace_back([this, t, on_start] {
        on_start();
        work(t);
      });
    }
  } catch (...) {  // no more threads to be had: those that were started must not outlive this object
    join();
    throw;
  }
}

ThreadPool::~ThreadPool() { join(); }

void ThreadPool::join() {
  stop_ = true;
  ++round_;
  round_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int64_t count, const std::function<void(int64_t, int)>& task) {
  if (count <= 1 || workers_.empty()) {
    for (int64_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  task_ = &task;
  count_ = count;
  next_ = 0;
  busy_ = static_cast<int>(workers_.size());
  ++round_;
  round_.notify_all();
  take(0);
  for (int spin = 0; spin < kSpins && busy_ != 0; ++spin) pause();
  for (int left = busy_; left != 0; left = busy_) busy_.wait(left);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take(int thread) {
  try {
    for (int64_t i = next_++; i < count_; i = next_++) (*task_)(i, thread);
  } catch (...) {
    next_ = count_;
    std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kSpins && round_ == seen; ++spin) pause();
    round_.wait(seen);
    seen = round_;
    if (stop_) return;
    take(thread);
    if (--busy_ == 0) busy_.notify_all();
  }
}

}  // namespace quern
