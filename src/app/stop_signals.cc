#include "app/stop_signals.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdint>

#include "observe/log.h"

namespace quern {
namespace {

// Ends the signal thread; ignored by default, so that a stray one does no harm.
constexpr int kEndThread = SIGURG;

[[noreturn]] void exit_now(int code, int signal_number, std::string_view why) {
  log_info(why, {{"quern.signal", int64_t{signal_number}}});
  log_stop();
  _exit(code);  // no destructor: other threads are at work
}

}  // namespace

StopSignals::StopSignals() {
  sigemptyset(&signals_);
  for (const int number : {SIGTERM, SIGINT, kEndThread}) sigaddset(&signals_, number);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::thread([this] { run(); });
}

StopSignals::~StopSignals() {
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
    if (number == kEndThread) return;
    if (seen) exit_now(128 + number, number, "stopped by a second signal");
    std::lock_guard lock(mutex_);  // promised() cannot come between the question and the exit
    if (!promised_) exit_now(0, number, "stopped before it was ready");
    seen = true;
    first_.set_value(number);
  }
}

}  // namespace quern
