// Replica: one copy of the model that computes Batches; a thread around the local model, or a worker process.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "core/batch.h"

namespace quern {

/// How one Batch ended.
struct BatchEnd {
  uint64_t batch_id = 0;
  Result<BatchResult> result;  // an Error fails every Job aboard
  int64_t compute_us = 0;
};

class Replica {
 public:
  /// Called once for each Batch, in the order in which they were started, on a thread of the replica; must not block.
  using OnEnd = std::function<void(BatchEnd)>;

  virtual ~Replica() = default;

  /// Answers later, through the OnEnd it was made with. Never blocks. The caller keeps the number in flight within what
  /// the replica was made for.
  virtual void start(Batch batch) = 0;
};

}  // namespace quern
