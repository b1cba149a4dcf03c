// TaskPool: a few threads for work too long for an io thread. Any thread may add.
//
// Two queues, each in order of arrival: what finishes a request goes before what begins one, since it gives memory
// back. A task that throws is dropped, with all it owns, and logged; the threads go on.
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
  /// `begin_tasks_max` bounds what begin() lets wait.
  TaskPool(int threads, int begin_tasks_max);
  /// Runs what is queued, then ends.
  ~TaskPool();

  /// False, and the task is not taken, when begin_tasks_max are waiting.
  bool begin(std::function<void()> task);
  /// For the second half of work that was admitted, which bounds how many wait: the memory budget holds their vectors.
  void finish(std::function<void()> task);

 private:
  void run();

  const size_t begin_tasks_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> finish_tasks_;
  std::deque<std::function<void()>> begin_tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace quern
