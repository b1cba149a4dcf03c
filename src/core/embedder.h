// Embedder: whoever turns Jobs into Outputs, as the API sees it: the engine, or a cache around one.
//
// All calls are safe from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "core/job.h"

namespace quern {

/// What an Embedder answers once it is draining.
inline Error shutting_down() { return {ErrorCode::kUnavailable, "the server is shutting down", "", 1}; }

class Embedder {
 public:
  virtual ~Embedder() = default;

  /// Takes all the Jobs or none; assigns and returns their ids, in order. On success each completion is called exactly
  /// once, possibly before submit() returns. kOverloaded carries Retry-After; kPayloadTooLarge when they could never be
  /// taken; kUnavailable once draining.
  virtual Result<std::vector<uint64_t>> submit(std::vector<Job> jobs) = 0;

  /// Ends the Jobs that have not ended yet with kCancelled. Unknown ids are ignored.
  virtual void cancel(std::span<const uint64_t> job_ids) = 0;

  /// Whether `jobs` more Jobs of `tokens` tokens in all would be taken now: the error that submit() would give. Cheap,
  /// no lock: asked before a request is tokenised, with the least number of tokens it can have.
  virtual Result<void> room(int64_t jobs, int64_t tokens) const = 0;
};

}  // namespace quern
