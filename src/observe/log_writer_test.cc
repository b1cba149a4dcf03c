// Against a real pipe in the place of stderr.
#include "observe/log_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <sstream>
#include <thread>
#include <vector>

#include "base/clock.h"

namespace quern {
namespace {

/// stderr is the writing end of a pipe for as long as it lives.
class StderrPipe {
 public:
  StderrPipe() : saved_(::dup(STDERR_FILENO)) {
    EXPECT_EQ(::pipe2(ends_, O_CLOEXEC), 0);
    ::dup2(ends_[1], STDERR_FILENO);
    ::close(ends_[1]);
  }
  ~StderrPipe() { restore(); }
  /// Without a writer left, so that read_all() ends.
  void restore() {
    if (saved_ < 0) return;
    ::dup2(saved_, STDERR_FILENO);
    ::close(saved_);
    saved_ = -1;
  }
  std::string read_some() {
    char bytes[64 * 1024];
    const ssize_t size = ::read(ends_[0], bytes, sizeof bytes);
    return {bytes, static_cast<size_t>(std::max<ssize_t>(size, 0))};
  }
  std::string read_all() {
    std::string text;
    for (std::string some = read_some(); !some.empty(); some = read_some()) text += some;
    return text;
  }
  void close_reader() { ::close(ends_[0]); }

 private:
  int saved_;
  int ends_[2] = {};
};

TEST(LogWriter, EveryLineOfEveryThreadComesWholeAndInOrder) {
  constexpr int kThreads = 4, kLines = 5000;
  StderrPipe stderr_pipe;
  std::string text;
  std::thread reader([&] { text = stderr_pipe.read_all(); });
  {
    LogWriter writer(8 << 20);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&writer, t] {
        for (int i = 0; i < kLines; ++i) {
          writer.add(std::to_string(t) + " " + std::to_string(i) + "\n", i % 100 == 0);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(writer.dropped(), 0u);
  }
  stderr_pipe.restore();
  reader.join();
  std::map<int, int> next;
  std::istringstream lines(text);
  for (int t = 0, i = 0; lines >> t >> i;) EXPECT_EQ(i, next[t]++);
  for (int t = 0; t < kThreads; ++t) EXPECT_EQ(next[t], kLines) << t;
}

// The machine may be slow, a lot is not: of many tries one must beat it by far.
TEST(LogWriter, AWarningWaitsForNoLotAndTakesWithItWhatIsBeforeIt) {
  constexpr int64_t kLotUs = 100'000;  // kLotSeconds
  StderrPipe stderr_pipe;
  LogWriter writer(1 << 20);
  int64_t fastest_us = kLotUs;
  for (int i = 0; i < 50 && fastest_us > kLotUs / 2; ++i) {
    const int64_t begin_us = now_us();
    writer.add("before\n", false);
    writer.add("a warning\n", true);
    std::string text;
    while (!text.ends_with("a warning\n")) text += stderr_pipe.read_some();
    EXPECT_EQ(text, "before\na warning\n");
    fastest_us = std::min(fastest_us, now_us() - begin_us);
  }
  EXPECT_LE(fastest_us, kLotUs / 2);
}

TEST(LogWriter, AStuckReaderCostsLinesAndNobodyWaits) {
  constexpr size_t kBytesMax = 64 * 1024;
  StderrPipe stderr_pipe;
  const std::string line = std::string(99, 'x') + "\n";
  uint64_t dropped = 0, added = 0;
  std::string text;
  std::thread reader;
  {
    LogWriter writer(kBytesMax);
    // Until lines are dropped: the pipe is full, the lot that is being written and the one that waits are, too.
    for (; writer.dropped() < 1000; ++added) writer.add(line, true);
    reader = std::thread([&] { text = stderr_pipe.read_all(); });
    dropped = writer.dropped();
  }
  stderr_pipe.restore();
  reader.join();
  EXPECT_EQ(text.size(), (added - dropped) * line.size()) << "what was not dropped was written";
  EXPECT_GE(text.size(), kBytesMax - line.size());
}

TEST(LogWriter, AStopDoesNotWaitForAStuckReader) {
  StderrPipe stderr_pipe;
  {
    LogWriter writer(1 << 20);
    while (writer.dropped() == 0) writer.add("no one reads this\n", false);
  }  // would wait for ever
  EXPECT_FALSE(stderr_pipe.read_some().empty());
}

TEST(LogWriter, AFullDisksLinesAreCounted) {
  StderrPipe stderr_pipe;
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  ::dup2(full, STDERR_FILENO);
  ::close(full);
  LogWriter writer(1 << 20);
  for (int i = 0; i < 1000; ++i) writer.add("no room for this\n", i == 999);
  while (writer.dropped() < 1000) std::this_thread::yield();
  EXPECT_EQ(writer.dropped(), 1000u);
}

TEST(LogWriter, AReaderThatIsGoneIsNoTrouble) {
  ::signal(SIGPIPE, SIG_IGN);
  StderrPipe stderr_pipe;
  stderr_pipe.close_reader();
  LogWriter writer(1 << 20);
  for (int i = 0; i < 1000; ++i) writer.add("nobody is there\n", i % 10 == 0);
}

}  // namespace
}  // namespace quern
