#include "observe/log_writer.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>

namespace quern {

namespace {

constexpr auto kLotSeconds = std::chrono::milliseconds(100);
// So many bytes are written before kLotSeconds are over.
constexpr size_t kLotBytes = 256 * 1024;
// How long a stop waits in all for a reader of stderr that takes nothing.
constexpr int kLastWordsMs = 1000;
constexpr int kPollMs = 50;

/// Whether stderr has a reader that can keep a writer waiting.
bool may_wait() {
  struct stat status {};
  return ::fstat(STDERR_FILENO, &status) != 0 || !S_ISREG(status.st_mode);
}

}  // namespace

LogWriter::LogWriter(size_t waiting_bytes_max) : waiting_bytes_max_(waiting_bytes_max), last_words_ms_(kLastWordsMs) {
  waiting_.reserve(waiting_bytes_max_);
  thread_ = std::thread([this] { run(); });
}

LogWriter::~LogWriter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void LogWriter::add(std::string_view line, bool urgent) {
  bool wakes = false;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + line.size() > waiting_bytes_max_) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    const size_t before = waiting_.size();
    waiting_.append(line);
    wakes = before == 0 || (before < kLotBytes && waiting_.size() >= kLotBytes) || (urgent && !urgent_);
    urgent_ = urgent_ || urgent;
  }
  if (wakes) wake_.notify_one();
}

void LogWriter::run() {
  std::string lot;
  lot.reserve(waiting_bytes_max_);
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return !waiting_.empty() || stopping_; });
    if (waiting_.empty()) return;
    wake_.wait_for(lock, kLotSeconds, [this] { return waiting_.size() >= kLotBytes || urgent_ || stopping_; });
    lot.swap(waiting_);
    urgent_ = false;
    lock.unlock();
    write_out(lot);
    lot.clear();
    lock.lock();
  }
}

void LogWriter::write_out(std::string_view bytes) {
  // A file takes all at once; anything else no more than what a pipe with room takes without waiting.
  const bool waits = may_wait();
  const size_t bytes_max = waits ? PIPE_BUF : bytes.size();
  if (is_torn_ && (!waits || may_write()) && ::write(STDERR_FILENO, "\n", 1) == 1) is_torn_ = false;
  while (!bytes.empty() && (!waits || may_write())) {
    const ssize_t written = ::write(STDERR_FILENO, bytes.data(), std::min(bytes_max, bytes.size()));
    if (written < 0 && errno != EINTR && errno != EAGAIN) break;  // stderr is gone, or its disk full
    if (written <= 0) continue;
    is_torn_ = bytes[static_cast<size_t>(written) - 1] != '\n';
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  dropped_.fetch_add(static_cast<uint64_t>(std::ranges::count(bytes, '\n')), std::memory_order_relaxed);
}

/// Waits for the reader of stderr: as long as it takes, but once a stop has begun kLastWordsMs in all.
bool LogWriter::may_write() {
  pollfd stderr_ready{STDERR_FILENO, POLLOUT, 0};
  while (::poll(&stderr_ready, 1, last_words_ms_ > 0 ? kPollMs : 0) == 0) {
    if (!stopping_) continue;
    if (last_words_ms_ <= 0) return false;
    last_words_ms_ -= kPollMs;
  }
  return true;
}

}  // namespace quern
