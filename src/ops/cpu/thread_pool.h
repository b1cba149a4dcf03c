// ThreadPool: runs the same function on every thread and waits. Owns its threads; the caller is thread 0.
//
// run() from one thread at a time. Workers spin briefly between calls, as a forward pass makes hundreds of them, then
// sleep. Which thread takes which task never changes a result: tasks write apart.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace quern {

class ThreadPool {
 public:
  /// `threads` >= 1; each beyond the caller's is started here. `on_start` runs once on each started thread.
  ThreadPool(int threads, const std::function<void()>& on_start);
  ~ThreadPool();

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  /// Calls task(index, thread) for every index in [0, count), each once; returns when all are done. After an exception
  /// no further task begins; the first one is thrown here, when every thread has left its task.
  void run(int64_t count, const std::function<void(int64_t index, int thread)>& task);

 private:
  void work(int thread);
  void take(int thread);
  void join();

  std::vector<std::thread> workers_;
  const std::function<void(int64_t, int)>* task_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};
  std::atomic<int> busy_{0};
  std::atomic<uint32_t> round_{0};
  std::atomic<bool> stop_{false};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;  // the first of this round
};

}  // namespace quern
