#include "api/task_pool.h"

#include <exception>

#include "observe/log.h"

namespace quern {

namespace {

void run_guarded(const std::function<void()>& task) {
  try {
    task();
  } catch (const std::exception& thrown) {
    log_error("a task of the pool failed", {{"error.message", thrown.what()}});
  }
}

}  // namespace

TaskPool::TaskPool(int threads, int begin_tasks_max) : begin_tasks_max_(static_cast<size_t>(begin_tasks_max)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

TaskPool::~TaskPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

bool TaskPool::begin(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    if (begin_tasks_.size() >= begin_tasks_max_) return false;
    begin_tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
  return true;
}

void TaskPool::finish(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    finish_tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void TaskPool::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !finish_tasks_.empty() || !begin_tasks_.empty(); });
    auto& queue = finish_tasks_.empty() ? begin_tasks_ : finish_tasks_;
    if (queue.empty()) return;
    auto task = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    run_guarded(task);
    task = nullptr;  // what it owned dies outside the lock
    lock.lock();
  }
}

}  // namespace quern
