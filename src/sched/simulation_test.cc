// The scheduler on random schedules. A failure names its seed; QUERN_SEEDS=N runs seeds [0, N) and QUERN_SEED=K one of
// them. The same file is built against each mutant of the scheduler (sched/mutant.h): there a violation must be found.
#include "sched/simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "sched/mutant.h"

namespace quern {
namespace {

#ifdef QUERN_SCHED_MUTANT

constexpr uint64_t kMutantSeeds = 300;

constexpr size_t kFoundMin = kMutantSeeds / 20;

// By more than a lucky seed: one in twenty at least.
TEST(SimulationMutantTest, IsFound) {
  std::vector<std::string> found;
  uint64_t seed = 0;
  for (; seed < kMutantSeeds && found.size() < kFoundMin; ++seed) {
    const SimulationResult result = simulate(seed);
    if (!result.violation.empty()) found.push_back("seed " + std::to_string(seed) + ": " + result.violation);
  }
  std::printf("mutant %d is found by %zu of the first %llu seeds; %s\n", static_cast<int>(kMutant), found.size(),
              static_cast<unsigned long long>(seed), found.empty() ? "" : found.front().c_str());
  EXPECT_GE(found.size(), kFoundMin);
}

#else

constexpr uint64_t kSeeds = 400;

uint64_t env_number(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

TEST(SimulationTest, HoldsItsPromisesOnRandomSchedules) {
  const uint64_t first = env_number("QUERN_SEED", 0);
  const bool is_one = std::getenv("QUERN_SEED") != nullptr;
  const uint64_t last = is_one ? first + 1 : env_number("QUERN_SEEDS", kSeeds);
  SimulationProbes sum;
  for (uint64_t seed = first; seed < last; ++seed) {
    const SimulationResult result = simulate(seed);
    ASSERT_EQ(result.violation, "") << "QUERN_SEED=" << seed;
    sum.steps += result.probes.steps;
    sum.ended += result.probes.ended;
    sum.chunks += result.probes.chunks;
    sum.skips += result.probes.skips;
    sum.blocked_starts += result.probes.blocked_starts;
    sum.early_starts += result.probes.early_starts;
    sum.removed_aboard += result.probes.removed_aboard;
    sum.lost_aboard += result.probes.lost_aboard;
    sum.small_steps += result.probes.small_steps;
    sum.cuts += result.probes.cuts;
    sum.queries += result.probes.queries;
    sum.several_replicas += result.probes.several_replicas;
    sum.longest_wait = std::max(sum.longest_wait, result.probes.longest_wait);
  }
  std::printf(
      "steps %lld, ended %lld, chunks %lld, skips %lld, blocked starts %lld, early starts %lld, removed aboard "
      "%lld, lost aboard %lld, small steps %lld, cuts %lld, queries %lld, several replicas %lld, longest wait %lld "
      "steps\n",
      static_cast<long long>(sum.steps), static_cast<long long>(sum.ended), static_cast<long long>(sum.chunks),
      static_cast<long long>(sum.skips), static_cast<long long>(sum.blocked_starts),
      static_cast<long long>(sum.early_starts), static_cast<long long>(sum.removed_aboard),
      static_cast<long long>(sum.lost_aboard), static_cast<long long>(sum.small_steps),
      static_cast<long long>(sum.cuts), static_cast<long long>(sum.queries),
      static_cast<long long>(sum.several_replicas), static_cast<long long>(sum.longest_wait));
  if (is_one) return;
  // A simulation that never meets these proves nothing about them.
  for (const int64_t probe :
       {sum.ended, sum.chunks, sum.skips, sum.blocked_starts, sum.early_starts, sum.removed_aboard, sum.lost_aboard,
        sum.small_steps, sum.cuts, sum.queries, sum.several_replicas}) {
    EXPECT_GT(probe, 100);
  }
}

#endif

}  // namespace
}  // namespace quern
