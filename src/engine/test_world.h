// For tests of the EventLoop: virtual time, no thread, no clock, no sleep.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <vector>

#include "engine/event_loop.h"

namespace quern {

inline EngineConfig small_config(int32_t batches_in_flight_max = 1) {
  EngineConfig config;
  config.scheduler.batch_tokens_max = 64;
  config.scheduler.batch_spans_max = 16;
  config.scheduler.context_tokens_max = 512;
  config.scheduler.queue_tokens_max = 4096;
  config.scheduler.queue_jobs_max = 64;
  config.scheduler.batches_in_flight_max = batches_in_flight_max;
  return config;
}

/// An EventLoop, the Batches that it started, and what its Jobs ended in.
class World {
 public:
  explicit World(const EngineConfig& config, int32_t replicas = 1)
      : loop(config, replicas, [this](int32_t replica, Batch batch) { started[replica].push_back(std::move(batch)); }) {
  }

  std::vector<uint64_t> submit(const std::vector<int>& lengths, int64_t now_us, int64_t deadline_us = kNoDeadline) {
    std::vector<Job> jobs;
    for (int length : lengths) {
      jobs.emplace_back().token_ids.assign(static_cast<size_t>(length), 7);
      jobs.back().deadline_us = deadline_us;
    }
    auto ids = loop.submit(std::move(jobs), now_us);
    return ids ? *ids : std::vector<uint64_t>{};
  }

  int64_t step(int64_t now_us) {
    Turn turn;
    const int64_t wake_us = loop.step(now_us, turn);
    reports.insert(reports.end(), turn.reports.begin(), turn.reports.end());
    keep(turn.ended);
    return wake_us;
  }
  void keep(EndedJobs& ended) {
    for (LiveJob& job : ended) {
      EXPECT_EQ(outcomes.count(job.job.id), 0u) << "a job ended twice";
      outcomes.emplace(job.job.id, std::move(job.outcome));
      timings[job.job.id] = job.timing;
    }
  }

  static BatchResult result_of(const Batch& batch) {
    BatchResult result{batch.id, {}};
    for (const Span& span : batch.spans) {
      if (span.is_last) result.vectors.push_back({{static_cast<float>(span.job_id)}});
    }
    return result;
  }
  /// The oldest Batch of a replica ends well.
  void end(int32_t replica = 0, int64_t compute_us = 1000) {
    const Batch& batch = started[replica].front();
    loop.batch_ended(replica, {batch.id, result_of(batch), compute_us});
    started[replica].pop_front();
  }
  ErrorCode code(uint64_t id) const {
    return outcomes.at(id).ok() ? ErrorCode::kOverloaded : outcomes.at(id).error().code;
  }
  bool is_right(uint64_t id) const {
    const auto it = outcomes.find(id);
    return it != outcomes.end() && it->second.ok() && (*it->second).values[0] == static_cast<float>(id);
  }

  std::map<int32_t, std::deque<Batch>> started;
  std::map<uint64_t, Result<Output>> outcomes;
  std::map<uint64_t, JobTiming> timings;
  std::vector<StepReport> reports;
  EventLoop loop;
};

}  // namespace quern
