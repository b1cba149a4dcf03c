#include "sched/simulation.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <random>

#include "core/job.h"

namespace quern {
namespace {

constexpr int64_t kNeverUs = std::numeric_limits<int64_t>::max();

/// What kind of load a seed draws: each finds other faults.
enum class Load { kMixed, kLongStream, kTightShort, kOverload, kQueries, kCrowdedLong };
/// A seed's load: each in its turn, the last, whose fault is the rarest, three times.
Load load_of(uint64_t seed) { return static_cast<Load>(std::min<uint64_t>(seed % 8, 5)); }

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed),
        load_(load_of(seed)),
        calm_(1 << draw(2, 8)),
        clients_(load_ == Load::kCrowdedLong || load_ == Load::kQueries ? draw(12, 40) : draw(2, 12)),
        config_(draw_config()),
        replicas_(static_cast<size_t>(draw(1, 3))),
        scheduler_(config_, static_cast<int32_t>(replicas_.size())),
        oracle_(config_, static_cast<int32_t>(replicas_.size())) {}

  SimulationResult run() {
    for (int events = events_of_load(); events > 0 && oracle_.violation().empty(); --events) {
      advance();
      disturb();
      start_batches();
      oracle_.check(scheduler_, now_us_);
    }
    arrives_us_ = kNeverUs;
    while (oracle_.violation().empty() && oracle_.live_jobs() > 0) {
      advance();
      start_batches();
      oracle_.check(scheduler_, now_us_);
    }
    return {oracle_.violation(), oracle_.probes()};
  }

 private:
  struct Running {
    Batch batch;
    int64_t ends_us = 0;
  };
  struct SimReplica {
    std::deque<Running> running;
    int64_t up_us = 0;  // when it is back after it was lost
    bool is_up = true;
  };

  int draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool comes_in_stream() const {
    return load_ == Load::kLongStream || load_ == Load::kCrowdedLong || load_ == Load::kQueries;
  }
  bool one_in(int n) { return draw(1, n) == 1; }
  int events_of_load() {
    if (load_ == Load::kCrowdedLong) return 3000;
    return comes_in_stream() ? 1000 : draw(100, 600);
  }

  SchedulerConfig draw_config() {
    SchedulerConfig config;
    config.batch_tokens_max = draw(2, 300);
    config.batch_spans_max = draw(2, 40);
    config.batches_in_flight_max = draw(1, 3);
    config.block_tokens = 1 << draw(0, 6);
    config.context_tokens_max = comes_in_stream() ? draw(4, 12) * config.batch_tokens_max : draw(1, 2000);
    config.queue_tokens_max = load_ == Load::kOverload ? draw(1, 20'000) : 1'000'000;
    config.queue_jobs_max = draw(1, 200);
    config.skipped_jobs_max = draw(0, 6);
    config.long_spans_max = draw(1, 6);
    if (load_ == Load::kQueries || (load_ != Load::kCrowdedLong && one_in(3))) {
      config.batch_tokens_max = std::max(8, config.batch_tokens_max);
      config.batch_spans_max = std::max(3, config.batch_spans_max);
      config.brief_batch_tokens_max = draw(8, config.batch_tokens_max);
      config.brief_tokens_max = draw(1, 64);
    }
    config.priority_boost_us = one_in(2) ? draw(0, 300'000) : draw(0, 2'000);
    return config;
  }

  int draw_length() {
    const int context = config_.context_tokens_max, is_short = config_.short_tokens_max();
    switch (load_) {
      case Load::kLongStream:  // now and then a full context in a stream of Jobs just beyond the short ones
        if (one_in(30)) return context;
        return std::min(context, one_in(3) ? draw(1, is_short) : is_short + draw(1, std::max(1, is_short / 2)));
      case Load::kCrowdedLong:  // the same among Jobs of which a few fill the blocks
        return one_in(20) ? context : std::max(1, draw(context / 8, context / 2));
      case Load::kQueries:  // more of them than a step holds, among short ones and a few long ones
        if (one_in(40)) return draw(1, context);
        return std::min(context, one_in(5) ? draw(1, is_short) : draw(1, std::max(1, config_.brief_tokens())));
      case Load::kTightShort:  // short ones of which few fit together, among tiny ones
        return std::min(context, one_in(2) ? draw(std::max(1, is_short * 2 / 3), is_short) : draw(1, 3));
      default:
        return one_in(4) ? draw(1, context) : draw(1, std::min(40, context));
    }
  }

  /// To the next arrival or the next end of a Batch.
  void advance() {
    int64_t next_us = arrives_us_;
    for (const SimReplica& replica : replicas_) {
      if (!replica.running.empty()) next_us = std::min(next_us, replica.running.front().ends_us);
      if (!replica.is_up) next_us = std::min(next_us, replica.up_us);
    }
    if (comes_in_stream() && next_us != kNeverUs && arrives_us_ != kNeverUs) {
      // As many clients as that, each of which sends when it has its answer.
      if (oracle_.live_jobs() < static_cast<size_t>(clients_)) next_us = arrives_us_ = now_us_;
    }
    if (next_us == kNeverUs) return oracle_.fail("work waits, nothing is under way, and no batch was made");
    now_us_ = std::max(now_us_, next_us);
    expire();
    if (arrives_us_ <= now_us_) arrive();
    for (int32_t r = 0; r < static_cast<int32_t>(replicas_.size()); ++r) {
      SimReplica& replica = replicas_[static_cast<size_t>(r)];
      while (!replica.running.empty() && replica.running.front().ends_us <= now_us_) finish(r);
      if (!replica.is_up && replica.up_us <= now_us_) {
        replica.is_up = true;
        scheduler_.restore(r);
      }
    }
  }

  void arrive() {
    arrives_us_ = now_us_ + arrival_gap_us();
    std::vector<SchedulerJob> jobs;
    for (int n = draw(1, 5); n > 0; --n) {
      auto ids = std::make_unique<std::vector<int32_t>>();
      for (int t = draw_length(); t > 0; --t) ids->push_back(draw(0, 1 << 20));
      const int64_t deadline_us = one_in(6) ? now_us_ + draw(1, 100'000 * calm_) : kNoDeadline;
      jobs.push_back({next_id_, ids.get(), deadline_us, draw(-2, 2), load_ == Load::kQueries || one_in(2)});
      token_ids_.emplace(next_id_++, std::move(ids));
    }
    const auto admitted = scheduler_.admit(jobs, now_us_);
    for (const SchedulerJob& job : jobs) admitted.ok() ? oracle_.on_admitted(job, now_us_) : forget(job.id);
  }

  int64_t arrival_gap_us() {
    switch (load_) {
      case Load::kLongStream:
      case Load::kCrowdedLong:
      case Load::kQueries:
        return 1'000'000;  // unless a client is free: see advance()
      case Load::kOverload:
        return draw(0, 3'000);
      default:
        return draw(0, 12'000);
    }
  }

  void expire() {
    while (const auto id = scheduler_.next_expired(now_us_)) {
      oracle_.on_removed(*id);
      forget(*id);
    }
  }

  /// Clients leave and replicas die.
  void disturb() {
    if (one_in(calm_) && oracle_.live_jobs() > 0) {
      const std::vector<uint64_t> ids = oracle_.job_ids();
      const uint64_t id = ids[static_cast<size_t>(draw(0, static_cast<int>(ids.size()) - 1))];
      if (!scheduler_.cancel(id)) return oracle_.fail("a live job could not be cancelled");
      if (scheduler_.cancel(id)) return oracle_.fail("a job was cancelled twice");
      oracle_.on_removed(id);
      forget(id);
    }
    if (one_in(8 * calm_)) {
      const int32_t r = draw(0, static_cast<int32_t>(replicas_.size()) - 1);
      scheduler_.lose(r);
      oracle_.on_lost(r);
      replicas_[static_cast<size_t>(r)] = {{}, now_us_ + draw(1, 50'000), false};
    }
  }

  /// Queries have come lately, or not.
  int32_t step_tokens_max() {
    if (config_.brief_batch_tokens_max > 0 && one_in(10)) is_brief_time_ = !is_brief_time_;
    return is_brief_time_ ? config_.small_batch_tokens_max() : config_.batch_tokens_max;
  }

  void start_batches() {
    const int32_t tokens_max = step_tokens_max();
    for (bool made = true; made;) {
      made = false;
      for (int32_t r = 0; r < static_cast<int32_t>(replicas_.size()) && oracle_.violation().empty(); ++r) {
        auto batch = scheduler_.next_batch(r, tokens_max);
        if (!batch) continue;
        made = true;
        oracle_.on_batch(r, *batch, tokens_max);
        SimReplica& replica = replicas_[static_cast<size_t>(r)];
        const int64_t begins_us = replica.running.empty() ? now_us_ : replica.running.back().ends_us;
        const int64_t ends_us = begins_us + cost_us(*batch);
        replica.running.push_back({std::move(*batch), ends_us});
      }
    }
  }

  static int64_t cost_us(const Batch& batch) {
    int64_t attention = 0;
    for (const Span& span : batch.spans)
      attention += int64_t{span.token_count} * (span.position_begin + span.token_count);
    return 500 + 40 * static_cast<int64_t>(batch.token_ids.size()) + attention / 100;
  }

  void finish(int32_t r) {
    SimReplica& replica = replicas_[static_cast<size_t>(r)];
    const Batch batch = std::move(replica.running.front().batch);
    replica.running.pop_front();
    const std::vector<EndedSpan> ended = scheduler_.finish_batch(r, batch.id);
    oracle_.on_finished(r, batch, ended);
    for (const EndedSpan& span : ended) {
      if (span.is_last && span.is_live) forget(span.job_id);
    }
  }

  /// Frees a Job's token ids at once: a sanitizer sees any later read.
  void forget(uint64_t job_id) { token_ids_.erase(job_id); }

  std::mt19937_64 random_;
  const Load load_;
  const int calm_;     // events from one disturbance to the next
  const int clients_;  // of the streams
  const SchedulerConfig config_;
  std::vector<SimReplica> replicas_;
  Scheduler scheduler_;
  Oracle oracle_;
  int64_t now_us_ = 0;
  int64_t arrives_us_ = 0;
  bool is_brief_time_ = false;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::unique_ptr<std::vector<int32_t>>> token_ids_;
};

}  // namespace

SimulationResult simulate(uint64_t seed) { return Simulation(seed).run(); }

}  // namespace quern
