// A fuzz target as a test: its seeds in tests/fuzz/corpus/NAME as they are, then QUERN_FUZZ_RUNS (10,000) changed
// copies. No coverage leads it and no clang is needed, so every run of the tests runs it. QUERN_SEED=17 runs that one
// copy alone.
//
// A target that dies takes the process with it; the last line says which input it was.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "mutate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// There under a sanitizer, which ends the process by itself.
extern "C" void __sanitizer_set_death_callback(void (*callback)())
    __attribute__((weak));  // NOLINT(bugprone-reserved-identifier)

namespace quern {
namespace {

constexpr uint64_t kRunsDefault = 10'000;

char current[256];  // what runs now, as a line for the terminal

void say_current() {
  const auto written = write(STDERR_FILENO, current, std::strlen(current));
  (void)written;
}

void on_signal(int number) {
  say_current();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

void say_current_on_death() {
  std::signal(SIGABRT, on_signal);  // QUERN_CHECK
  if (__sanitizer_set_death_callback != nullptr) return __sanitizer_set_death_callback(say_current);
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(number, on_signal);
}

/// In memory of exactly its size: a sanitizer sees a read of one byte more.
void run(const std::string& bytes) {
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  if (!bytes.empty()) std::memcpy(exact.get(), bytes.data(), bytes.size());
  LLVMFuzzerTestOneInput(exact.get(), bytes.size());
}

struct Seed {
  std::string path;
  std::string bytes;
};

/// Sorted by name: numbers mean the same everywhere.
std::vector<Seed> read_seeds() {
  std::vector<Seed> seeds;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(QUERN_CORPUS, failed)) {
    std::ifstream file(entry.path(), std::ios::binary);
    seeds.push_back({entry.path(), std::string(std::istreambuf_iterator<char>(file), {})});
  }
  std::sort(seeds.begin(), seeds.end(), [](const Seed& a, const Seed& b) { return a.path < b.path; });
  return seeds;
}

class FuzzTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(seeds_.empty()) << "a fuzzer needs seeds in " QUERN_CORPUS;
    say_current_on_death();
  }
  const std::vector<Seed> seeds_ = read_seeds();
};

TEST_F(FuzzTest, Seeds) {
  for (const Seed& seed : seeds_) {
    std::snprintf(current, sizeof current, "\ndied of the seed %s\n", seed.path.c_str());
    run(seed.bytes);
  }
}

TEST_F(FuzzTest, Mutations) {
  std::vector<std::string> bytes;
  for (const Seed& seed : seeds_) bytes.push_back(seed.bytes);
  const Mutator mutator(std::move(bytes));
  const char* one = std::getenv("QUERN_SEED");
  const char* runs = std::getenv("QUERN_FUZZ_RUNS");
  const uint64_t begin = one != nullptr ? std::strtoull(one, nullptr, 10) : 0;
  const uint64_t count = one != nullptr ? 1 : runs != nullptr ? std::strtoull(runs, nullptr, 10) : kRunsDefault;
  for (uint64_t number = begin; number < begin + count; ++number) {
    std::snprintf(current, sizeof current, "\ndied of mutation %llu; QUERN_SEED=%llu runs it alone\n",
                  static_cast<unsigned long long>(number), static_cast<unsigned long long>(number));
    run(mutator.make(number));
  }
}

}  // namespace
}  // namespace quern
