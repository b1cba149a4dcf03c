// TaskPool: a few threads for work too long for an io thread. Tasks run in order of arrival; any thread may add.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace quern {

class TaskPool {
 public:
  /// `tasks_max` bounds what try_add() lets wait.
  TaskPool(int threads, int tasks_max);
  /// Runs what is queued, then ends.
  ~TaskPool();

  /// False, and the task is not taken, when tasks_max are waiting.
  bool try_add(std::function<void()> task);
  /// For the second half of work that was admitted already, and is thereby bounded.
  void add(std::function<void()> task);

 private:
  void run();

  const size_t tasks_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace quern
