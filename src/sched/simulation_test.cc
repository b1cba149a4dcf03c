// Random schedules against a model of what must hold, on a virtual clock. A failure names its seed; QUERN_SEEDS=N runs
// seeds [0, N) and QUERN_SEED=K one of them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "core/job.h"
#include "sched/scheduler.h"

namespace quern {
namespace {

struct SimJob {
  std::unique_ptr<std::vector<int32_t>> token_ids;
  int64_t arrived_us = 0;
  int64_t deadline_us = kNoDeadline;
  int32_t fed_tokens = 0;  // tokens seen in Batches so far: chunks must arrive in order, without gaps
  bool ended = false;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed), config_(draw_config()), scheduler_(config_) {}

  void run() {
    const int steps = draw(50, 400);
    for (int step = 0; step < steps && !::testing::Test::HasFatalFailure(); ++step) {
      clock_us_ += draw(0, 20'000);
      switch (draw(0, 9)) {
        case 0:
        case 1:
        case 2:
        case 3:
          arrive();
          break;
        case 4:
          cancel_one();
          break;
        case 5:
          expire();
          break;
        default:
          step_engine();
          break;
      }
      check_conservation();
    }
    drain();
  }

 private:
  int draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  SchedulerConfig draw_config() {
    SchedulerConfig config;
    config.batch_tokens_max = draw(2, 300);
    config.batch_spans_max = draw(2, 40);
    config.batches_in_flight_max = draw(1, 3);
    config.block_tokens = 1 << draw(0, 6);
    config.context_tokens_max = draw(1, 2000);
    config.queue_tokens_max = draw(1, 20'000);
    config.queue_jobs_max = draw(1, 200);
    return config;
  }

  void arrive() {
    std::vector<SchedulerJob> jobs;
    const uint64_t first_id = next_id_;
    for (int n = draw(1, 6); n > 0; --n) {
      const int length =
          draw(0, 3) == 0 ? draw(1, config_.context_tokens_max) : draw(1, std::min(40, config_.context_tokens_max));
      SimJob job;
      job.token_ids = std::make_unique<std::vector<int32_t>>();
      for (int t = 0; t < length; ++t) job.token_ids->push_back(draw(0, 1 << 20));
      job.arrived_us = clock_us_;
      if (draw(0, 4) == 0) job.deadline_us = clock_us_ + draw(1, 400'000);
      jobs.push_back({next_id_, job.token_ids.get(), job.deadline_us, draw(-2, 2)});
      jobs_.emplace(next_id_++, std::move(job));
    }
    if (!scheduler_.admit(jobs, clock_us_).ok()) {
      for (uint64_t id = first_id; id < next_id_; ++id) jobs_.erase(id);
    }
  }

  void cancel_one() {
    if (next_id_ == 1) return;
    const auto id = static_cast<uint64_t>(draw(1, static_cast<int>(next_id_ - 1)));
    const auto it = jobs_.find(id);
    ASSERT_EQ(scheduler_.cancel(id), it != jobs_.end());
    if (it != jobs_.end()) jobs_.erase(it);  // frees its token ids: ASan sees any later read
    release_dead_tables();
  }

  void expire() {
    for (uint64_t id : scheduler_.take_expired(clock_us_)) {
      const auto it = jobs_.find(id);
      ASSERT_NE(it, jobs_.end()) << "job " << id << " ended twice";
      ASSERT_LE(it->second.deadline_us, clock_us_);
      jobs_.erase(it);
    }
    release_dead_tables();
    for (const auto& [id, job] : jobs_)
      ASSERT_GT(job.deadline_us, clock_us_) << "job " << id << " outlived its deadline";
  }

  void step_engine() {
    if (!in_flight_.empty() && draw(0, 1) == 0) return finish_oldest();
    auto batch = scheduler_.next_batch(clock_us_);
    if (!batch) {
      if (!in_flight_.empty()) return finish_oldest();
      ASSERT_EQ(scheduler_.queued_jobs(), 0) << "work waits, nothing is under way, and no batch was made";
      return;
    }
    check_batch(*batch);
    in_flight_.push_back(std::move(*batch));
  }

  void check_batch(const Batch& batch) {
    ASSERT_LE(batch.token_ids.size(), static_cast<size_t>(config_.batch_tokens_max));
    ASSERT_LE(batch.spans.size(), static_cast<size_t>(config_.batch_spans_max));
    ASSERT_LT(in_flight_.size(), static_cast<size_t>(config_.batches_in_flight_max));
    int32_t token_begin = 0, block_begin = 0;
    std::set<uint64_t> aboard;
    for (const Span& span : batch.spans) {
      ASSERT_TRUE(aboard.insert(span.job_id).second) << "two spans of one job in a batch";
      SimJob& job = jobs_.at(span.job_id);
      ASSERT_EQ(span.token_begin, token_begin);
      ASSERT_EQ(span.block_begin, block_begin);
      ASSERT_GT(span.token_count, 0);
      ASSERT_EQ(span.position_begin, job.fed_tokens);
      for (int32_t t = 0; t < span.token_count; ++t) {
        ASSERT_EQ(batch.token_ids[static_cast<size_t>(span.token_begin + t)],
                  (*job.token_ids)[static_cast<size_t>(span.position_begin + t)]);
      }
      job.fed_tokens += span.token_count;
      ASSERT_EQ(span.is_last, job.fed_tokens == static_cast<int32_t>(job.token_ids->size()));
      ASSERT_EQ(span.block_count, blocks_for_tokens(job.fed_tokens, config_.block_tokens));
      check_blocks(span, batch);
      token_begin += span.token_count;
      block_begin += span.block_count;
    }
    ASSERT_EQ(static_cast<size_t>(token_begin), batch.token_ids.size());
    ASSERT_EQ(static_cast<size_t>(block_begin), batch.block_ids.size());
  }

  /// A Job's page table only ever grows, and no two Jobs under way share a block.
  void check_blocks(const Span& span, const Batch& batch) {
    const auto begin = batch.block_ids.begin() + span.block_begin;
    std::vector<int32_t> table(begin, begin + span.block_count);
    std::vector<int32_t>& known = tables_[span.job_id];
    ASSERT_LE(known.size(), table.size());
    ASSERT_TRUE(std::equal(known.begin(), known.end(), table.begin()));
    known = std::move(table);
    for (int32_t block : known) {
      const auto [owner, is_new] = owners_.emplace(block, span.job_id);
      ASSERT_EQ(owner->second, span.job_id) << "block " << block << " has two owners";
    }
  }

  /// Forgets the page tables of Jobs that have ended and are aboard no Batch: their blocks may be handed out again.
  void release_dead_tables() {
    std::set<uint64_t> live;
    for (const auto& [id, job] : jobs_) live.insert(id);
    for (const Batch& batch : in_flight_) {
      for (const Span& span : batch.spans) live.insert(span.job_id);
    }
    for (auto it = tables_.begin(); it != tables_.end();) {
      if (live.count(it->first) != 0) {
        ++it;
        continue;
      }
      for (int32_t block : it->second) owners_.erase(block);
      it = tables_.erase(it);
    }
  }

  void finish_oldest() {
    const Batch batch = std::move(in_flight_.front());
    in_flight_.erase(in_flight_.begin());
    std::vector<uint64_t> expected;
    for (const Span& span : batch.spans) {
      if (span.is_last && jobs_.count(span.job_id) != 0) expected.push_back(span.job_id);
    }
    ASSERT_EQ(scheduler_.finish_batch(batch.id), expected);
    for (uint64_t id : expected) jobs_.erase(id);
    release_dead_tables();
  }

  void check_conservation() {
    ASSERT_LE(scheduler_.queued_tokens(), config_.queue_tokens_max);
    ASSERT_LE(scheduler_.live_jobs(), config_.queue_jobs_max);
    int64_t waiting = 0;
    for (const auto& [id, job] : jobs_) waiting += static_cast<int64_t>(job.token_ids->size()) - job.fed_tokens;
    ASSERT_EQ(scheduler_.queued_tokens(), waiting);
    ASSERT_EQ(scheduler_.pool().used_count() + scheduler_.pool().free_count(), config_.total_blocks());
  }

  void drain() {
    int64_t tokens_left = scheduler_.queued_tokens();
    // Every step moves at least one token; a full one moves at least half a batch.
    for (int64_t step = 0; step <= 4 * tokens_left + 16 && (!jobs_.empty() || !in_flight_.empty()); ++step) {
      step_engine();
      if (::testing::Test::HasFatalFailure()) return;
    }
    ASSERT_TRUE(jobs_.empty()) << jobs_.size() << " jobs never ended";
    ASSERT_EQ(scheduler_.live_jobs(), 0);
    ASSERT_EQ(scheduler_.pool().used_count(), 0) << "blocks leaked";
  }

  std::mt19937_64 random_;
  SchedulerConfig config_;
  Scheduler scheduler_;
  int64_t clock_us_ = 0;
  uint64_t next_id_ = 1;
  std::map<uint64_t, SimJob> jobs_;  // admitted and not ended
  std::vector<Batch> in_flight_;
  std::map<uint64_t, std::vector<int32_t>> tables_;
  std::map<int32_t, uint64_t> owners_;
};

uint64_t env_number(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

TEST(SimulationTest, HoldsItsInvariantsOnRandomSchedules) {
  const uint64_t first = env_number("QUERN_SEED", 0);
  const uint64_t last = std::getenv("QUERN_SEED") != nullptr ? first + 1 : env_number("QUERN_SEEDS", 2000);
  for (uint64_t seed = first; seed < last; ++seed) {
    SCOPED_TRACE("QUERN_SEED=" + std::to_string(seed));
    Simulation(seed).run();
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace quern
