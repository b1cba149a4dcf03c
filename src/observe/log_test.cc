// Lines are bounded, whatever they are given.
#include "observe/log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace quern {
namespace {

/// What `log` writes to stderr.
template <typename F>
std::string logged(const F& log) {
  testing::internal::CaptureStderr();
  log_start({});
  log();
  log_stop();
  return testing::internal::GetCapturedStderr();
}

TEST(Log, ALongTextIsCutAtACodePoint) {
  const std::string mib(60 << 20, 'x');
  const std::string line = logged([&] { log_info("request", {{"error.message", mib}, {"url.path", "/after"}}); });
  EXPECT_LT(line.size(), 2048u);
  EXPECT_NE(line.find("xxx...\",\"url.path\":\"/after\""), std::string::npos) << line;

  std::string umlauts(1, 'a');  // so that the limit falls inside of a code point
  while (umlauts.size() < 4096) umlauts += "\xC3\xA4";
  const std::string cut = logged([&] { log_info(umlauts); });
  EXPECT_EQ(cut.find("\xEF\xBF\xBD"), std::string::npos) << "a code point was cut in two";
}

TEST(Log, ALineOfManyLongFieldsIsBounded) {
  std::mt19937 random(1);
  std::string bytes(1 << 20, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  const std::string line = logged([&] {
    log_warn(bytes, {{"a", bytes}, {"b", bytes}, {"c", bytes}, {"d", bytes}, {"e", bytes}, {"f", bytes}});
  });
  EXPECT_LT(line.size(), 16u * 1024);
  EXPECT_NE(line.find("\"quern.cut\":true"), std::string::npos);
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST(Log, StoppingWhileOthersLogIsSafe) {
  testing::internal::CaptureStderr();
  std::atomic<bool> over{false};
  std::vector<std::thread> writers;
  for (int t = 0; t < 2; ++t) {
    writers.emplace_back([&over] {
      while (!over) log_info("line", {{"url.path", "/x"}});
    });
  }
  for (int round = 0; round < 50; ++round) {
    log_start({});
    log_info("between");
    log_stop();
  }
  over = true;
  for (std::thread& writer : writers) writer.join();
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.back(), '\n');  // no half line
}

}  // namespace
}  // namespace quern
