#include "app/stop_signals.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdint>

#include "observe/log.h"

namespace quern {
namespace {

constexpr int kEndThread = SIGURG;  // wakes the signal thread; one that comes from elsewhere is passed over

}  // namespace

StopSignals::StopSignals() {
  sigemptyset(&signals_);
  for (const int number : {SIGTERM, SIGINT, kEndThread}) sigaddset(&signals_, number);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::thread([this] { run(); });
}

StopSignals::~StopSignals() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  pthread_kill(thread_.native_handle(), kEndThread);
  thread_.join();
}

void StopSignals::promised() {
  std::lock_guard lock(mutex_);
  promised_ = true;
}

int StopSignals::wait() { return first_.get_future().get(); }

void StopSignals::run() {
  bool seen = false;
  while (true) {
    int number = 0;
    if (sigwait(&signals_, &number) != 0) continue;
    if (seen && number != kEndThread) _exit(128 + number);  // at once: whatever hangs, the log too
    std::lock_guard lock(mutex_);                           // promised() cannot come between the question and the exit
    if (number == kEndThread) {
      if (ending_) return;
      continue;
    }
    if (!promised_) {
      log_info("stopped before it was ready", {{"quern.signal", int64_t{number}}});
      log_stop();
      _exit(0);  // no destructor: other threads are at work
    }
    seen = true;
    first_.set_value(number);
  }
}

}  // namespace quern
