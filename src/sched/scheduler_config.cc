#include "sched/scheduler_config.h"

#include <string>

namespace quern {
namespace {

struct Limit {
  const char* flag;
  const char* unit;
  int64_t max;
};

Result<void> check_limit(const Limit& limit, int64_t queued, int64_t added) {
  const std::string adds = std::to_string(added) + " " + limit.unit;
  const std::string allowed = std::string(limit.flag) + " is " + std::to_string(limit.max);
  if (added > limit.max) {
    return Error{ErrorCode::kPayloadTooLarge,
                 "this request has " + adds + " and could never be queued; " + allowed + ". Split the request.", "", 0};
  }
  if (added > limit.max - queued) {
    return Error{ErrorCode::kOverloaded,
                 "the queue holds " + std::to_string(queued) + " " + limit.unit + " and this request adds " +
                     std::to_string(added) + "; " + allowed,
                 "", 1};
  }
  return {};
}

Result<void> at_least(const char* flag, int64_t value, int64_t least, const char* why) {
  if (value >= least) return {};
  return invalid_argument("is " + std::to_string(value) + "; allowed: at least " + std::to_string(least) + why, flag);
}

}  // namespace

Result<void> check_steps(const SchedulerConfig& config) {
  if (auto ok = at_least("--max-batch-tokens", config.batch_tokens_max, 2, ""); !ok) return ok;
  return at_least("--max-batch-inputs", config.batch_spans_max, config.spans_least(),
                  config.brief_batch_tokens_max > 0 ? " with --max-query-batch-tokens" : "");
}

Result<void> check_config(const SchedulerConfig& config) {
  if (auto ok = check_steps(config); !ok) return ok;
  if (auto ok = at_least("--context-length", config.context_tokens_max, 1, ""); !ok) return ok;
  if (auto ok = at_least("--max-queue-jobs", config.queue_jobs_max, 1, ""); !ok) return ok;
  return at_least("--max-queue-tokens", config.queue_tokens_max, config.context_tokens_max,
                  ", the context length: else a full input could never be queued");
}

Result<void> check_room(const SchedulerConfig& config, int64_t queued_jobs, int64_t queued_tokens, int64_t jobs,
                        int64_t tokens) {
  if (auto ok = check_limit({"--max-queue-tokens", "tokens", config.queue_tokens_max}, queued_tokens, tokens); !ok) {
    return ok;
  }
  return check_limit({"--max-queue-jobs", "inputs", config.queue_jobs_max}, queued_jobs, jobs);
}

}  // namespace quern
