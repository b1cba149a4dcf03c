// StopSignals: SIGTERM and SIGINT, heard from the first moment of the process on.
//
// Made on the main thread before any other thread is: the signals are blocked in every thread started later, and one
// thread of its own waits for them. Before promised() the first signal ends the process at once with code 0: no request
// was taken yet. After it the first one lets wait() return. The second one always ends the process at once, with code
// 128 + signal.
#pragma once

#include <csignal>
#include <future>
#include <mutex>
#include <thread>

namespace quern {

class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// From now on requests are promised an answer: a signal is waited for, not obeyed at once.
  void promised();
  /// Blocks until the first signal; its number.
  int wait();

 private:
  void run();

  sigset_t signals_{};
  std::mutex mutex_;
  bool promised_ = false;  // guarded by mutex_
  bool ending_ = false;    // guarded by mutex_: the destructor has begun
  std::promise<int> first_;
  std::thread thread_;
};

}  // namespace quern
