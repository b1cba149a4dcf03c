// Job: one input on its way to one Output.
//
// A plain struct. The engine owns it from submit() until its completion has been called, exactly once.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "base/result.h"
#include "core/output.h"

namespace quern {

constexpr int64_t kNoDeadline = std::numeric_limits<int64_t>::max();

/// When things happened to a Job, on the monotonic clock. Zero where it did not get that far.
struct JobTiming {
  int64_t submitted_us = 0;  // accepted into the queue
  int64_t started_us = 0;    // its first token entered a batch
  int64_t finished_us = 0;   // its completion was called
};

/// Called exactly once, on an engine thread; must not block, must not throw and must not end the engine's life.
using Completion = std::function<void(Result<Output>, const JobTiming&)>;

struct Job {
  uint64_t id = 0;                    // unique in this process; the engine assigns it
  std::vector<int32_t> token_ids;     // [T], 1 <= T <= context length, EOS included
  int64_t deadline_us = kNoDeadline;  // absolute, monotonic clock
  int32_t priority = 0;               // higher goes first among equals
  int32_t tenant = 0;                 // row of the table of API keys: the fair-share class; 0 without keys
  Completion completion;
};

}  // namespace quern
