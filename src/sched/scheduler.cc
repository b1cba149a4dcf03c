#include "sched/scheduler.h"

#include <string>

#include "core/job.h"

namespace quern {
namespace {

// How many short Jobs that do not fit the rest of a Batch are passed over in search of one that does. Bounds the cost
// of a step; the first one passed over heads the next Batch, so passing over delays a Job by one step at most.
constexpr int kSkippedJobsMax = 64;

int32_t tokens_in(const Batch& batch) { return static_cast<int32_t>(batch.token_ids.size()); }
int32_t spans_in(const Batch& batch) { return static_cast<int32_t>(batch.spans.size()); }

}  // namespace

int32_t SchedulerConfig::short_blocks() const {
  // Each span wastes less than one block, so a Batch of short Jobs holds at most tokens / block_tokens + spans blocks.
  return batches_in_flight_max * (blocks_for_tokens(batch_tokens_max, block_tokens) + batch_spans_max);
}

Scheduler::Scheduler(const SchedulerConfig& config) : config_(config), pool_(config.total_blocks()) {
  QUERN_CHECK(config.batch_tokens_max >= 2 && config.batch_spans_max >= 2,
              "a batch holds at least two tokens and spans");
  QUERN_CHECK(config.batches_in_flight_max >= 1 && config.block_tokens >= 1, "bad scheduler limits");
}

Result<void> Scheduler::admit(const std::vector<SchedulerJob>& jobs, int64_t now_us) {
  int64_t tokens = 0;
  for (const SchedulerJob& job : jobs) {
    const auto count = static_cast<int64_t>(job.token_ids->size());
    if (count == 0) return invalid_argument("an input has no tokens");
    if (count > config_.context_tokens_max) {
      return invalid_argument("an input has " + std::to_string(count) + " tokens; the context length is " +
                              std::to_string(config_.context_tokens_max));
    }
    tokens += count;
  }
  if (queued_tokens_ + tokens > config_.queue_tokens_max) {
    return Error{ErrorCode::kOverloaded,
                 "the queue holds " + std::to_string(queued_tokens_) + " tokens and this request adds " +
                     std::to_string(tokens) + "; --max-queue-tokens is " + std::to_string(config_.queue_tokens_max),
                 "", 1};
  }
  if (static_cast<int64_t>(entries_.size() + jobs.size()) > config_.queue_jobs_max) {
    return Error{ErrorCode::kOverloaded,
                 "the queue holds " + std::to_string(entries_.size()) + " inputs and this request adds " +
                     std::to_string(jobs.size()) + "; --max-queue-jobs is " + std::to_string(config_.queue_jobs_max),
                 "", 1};
  }
  for (const SchedulerJob& job : jobs) {
    Entry entry;
    entry.job = job;
    entry.token_count = static_cast<int32_t>(job.token_ids->size());
    entry.is_short = entry.token_count <= config_.short_tokens_max();
    entry.rank_us = now_us - job.priority * config_.priority_boost_us;
    const auto [it, inserted] = entries_.emplace(job.id, std::move(entry));
    QUERN_CHECK(inserted, "a Job id was used twice");
    queue_of(it->second).emplace(it->second.rank_us, job.id);
    if (it->second.is_short) short_tokens_queued_ += it->second.token_count;
    if (job.deadline_us != kNoDeadline) deadlines_.emplace(job.deadline_us, job.id);
  }
  queued_tokens_ += tokens;
  return {};
}

std::optional<Batch> Scheduler::next_batch(int64_t /*now_us*/) {
  if (batches_in_flight() >= config_.batches_in_flight_max || queued_jobs() == 0) return std::nullopt;
  Batch batch;
  batch.id = next_batch_id_;
  // Long Jobs get what the short ones leave over, and never less than half.
  const auto left_over = [](int32_t limit, int64_t wanted) { return std::max<int64_t>(limit / 2, limit - wanted); };
  take_long(batch, static_cast<int32_t>(left_over(config_.batch_tokens_max, short_tokens_queued_)),
            static_cast<int32_t>(left_over(config_.batch_spans_max, static_cast<int64_t>(short_queue_.size()))));
  take_short(batch);
  if (batch.spans.empty()) return std::nullopt;

  auto& aboard = in_flight_[batch.id];
  for (const Span& span : batch.spans) aboard.emplace_back(span.job_id, span.is_last);
  ++next_batch_id_;
  return batch;
}

void Scheduler::take_long(Batch& batch, int32_t tokens_max, int32_t spans_max) {
  bool starts_blocked = false;  // a Job that waits for blocks is not overtaken by later long ones
  for (auto it = long_queue_.begin(); it != long_queue_.end();) {
    if (tokens_in(batch) >= tokens_max || spans_in(batch) >= spans_max) return;
    Entry& entry = entries_.at(it->second);
    ++it;  // append_span may erase the entry's place in the queue
    if (entry.blocks.empty() && (starts_blocked || !reserve_blocks(entry))) {
      starts_blocked = true;
      continue;
    }
    append_span(entry, std::min(entry.remaining(), tokens_max - tokens_in(batch)), batch);
  }
}

void Scheduler::take_short(Batch& batch) {
  int skipped = 0;
  for (auto it = short_queue_.begin(); it != short_queue_.end() && skipped < kSkippedJobsMax;) {
    const int32_t room = config_.batch_tokens_max - tokens_in(batch);
    if (room == 0 || spans_in(batch) >= config_.batch_spans_max) return;
    Entry& entry = entries_.at(it->second);
    ++it;
    if (entry.remaining() > room) {
      ++skipped;
      continue;
    }
    QUERN_CHECK(reserve_blocks(entry), "short Jobs outgrew their share of the block pool");
    append_span(entry, entry.remaining(), batch);
  }
}

bool Scheduler::reserve_blocks(Entry& entry) {
  const int32_t count = blocks_for_tokens(entry.token_count, config_.block_tokens);
  if (!entry.is_short) {
    if (long_blocks_used_ + count > config_.long_blocks()) return false;
    long_blocks_used_ += count;
  }
  return pool_.allocate(count, entry.blocks);
}

void Scheduler::append_span(Entry& entry, int32_t token_count, Batch& batch) {
  Span span;
  span.job_id = entry.job.id;
  span.token_begin = tokens_in(batch);
  span.token_count = token_count;
  span.position_begin = entry.scheduled_tokens;
  span.block_begin = static_cast<int32_t>(batch.block_ids.size());
  span.block_count = blocks_for_tokens(entry.scheduled_tokens + token_count, config_.block_tokens);
  span.is_last = token_count == entry.remaining();

  const auto tokens = entry.job.token_ids->begin() + entry.scheduled_tokens;
  batch.token_ids.insert(batch.token_ids.end(), tokens, tokens + token_count);
  batch.block_ids.insert(batch.block_ids.end(), entry.blocks.begin(), entry.blocks.begin() + span.block_count);
  batch.spans.push_back(span);

  entry.scheduled_tokens += token_count;
  entry.spans_in_flight += 1;
  queued_tokens_ -= token_count;
  if (entry.is_short) short_tokens_queued_ -= token_count;
  if (span.is_last) queue_of(entry).erase({entry.rank_us, entry.job.id});
}

std::vector<uint64_t> Scheduler::finish_batch(uint64_t batch_id) {
  QUERN_CHECK(!in_flight_.empty() && in_flight_.begin()->first == batch_id, "batches must finish in order");
  const auto aboard = std::move(in_flight_.begin()->second);
  in_flight_.erase(in_flight_.begin());
  std::vector<uint64_t> finished;
  for (const auto& [job_id, is_last] : aboard) {
    Entry& entry = entries_.at(job_id);
    entry.spans_in_flight -= 1;
    if (entry.removed) {
      if (entry.spans_in_flight == 0) erase(job_id);
    } else if (is_last) {
      finished.push_back(job_id);
      erase(job_id);
    }
  }
  return finished;
}

bool Scheduler::cancel(uint64_t job_id) {
  const auto it = entries_.find(job_id);
  if (it == entries_.end() || it->second.removed) return false;
  Entry& entry = it->second;
  if (entry.remaining() > 0) {
    queued_tokens_ -= entry.remaining();
    if (entry.is_short) short_tokens_queued_ -= entry.remaining();
    queue_of(entry).erase({entry.rank_us, job_id});
  }
  deadlines_.erase({entry.job.deadline_us, job_id});
  entry.removed = true;
  entry.job.token_ids = nullptr;  // the caller may free them now; nothing below reads them again
  if (entry.spans_in_flight == 0) erase(job_id);
  return true;
}

std::vector<uint64_t> Scheduler::take_expired(int64_t now_us) {
  std::vector<uint64_t> expired;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_us) {
    expired.push_back(deadlines_.begin()->second);
    QUERN_CHECK(cancel(expired.back()), "a deadline outlived its Job");
  }
  return expired;
}

void Scheduler::erase(uint64_t job_id) {
  const auto it = entries_.find(job_id);
  const Entry& entry = it->second;
  if (!entry.is_short) long_blocks_used_ -= static_cast<int32_t>(entry.blocks.size());
  pool_.release(entry.blocks);
  deadlines_.erase({entry.job.deadline_us, job_id});
  entries_.erase(it);
}

}  // namespace quern
