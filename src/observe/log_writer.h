// LogWriter: takes lines from any thread and writes them to stderr from one of its own.
//
// Owns the bytes that wait: at most `waiting_bytes_max`, and as many again while they are written. Nobody waits for the
// reader of stderr: a line that finds no room, or that stderr refuses, is dropped and counted. A line is on its way
// within kLotSeconds, a warning at once; the thread is woken for a lot of lines, since waking it for each would cost
// more than the rest of the line.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace quern {

class LogWriter {
 public:
  explicit LogWriter(size_t waiting_bytes_max);
  /// Writes what waits; a reader that takes nothing for a second does not get it.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  /// `line` ends in a newline. `urgent`: is written now, with all before it. Never allocates.
  void add(std::string_view line, bool urgent);
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  void run();
  void write_out(std::string_view bytes);
  bool may_write();

  const size_t waiting_bytes_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string waiting_;  // under mutex_, as the next one
  bool urgent_ = false;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> dropped_{0};
  bool is_torn_ = false;  // the thread's own: what was written last is no whole line
  int last_words_ms_;     // the thread's own: what is left of the time that a stop has
  std::thread thread_;
};

}  // namespace quern
