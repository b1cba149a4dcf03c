// Replica: one copy of the model that computes Batches; a thread around the local model, or a worker process.
//
// Owns the bytes of its K/V pages; whoever starts Batches owns their meaning.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "core/batch.h"

namespace quern {

/// How one Batch ended.
struct BatchEnd {
  uint64_t batch_id = 0;
  Result<BatchResult> result;  // an Error fails every Job aboard
  int64_t compute_us = 0;
  bool is_lost = false;  // the replica will compute nothing any more
};

class Replica {
 public:
  /// Called once for each Batch, in the order in which they were started, on a thread of the replica and never from
  /// within start(); must not block and must not throw. After the replica's destructor has begun it may stay uncalled.
  using OnEnd = std::function<void(BatchEnd)>;

  virtual ~Replica() = default;

  /// Answers later, through the OnEnd it was made with; what goes wrong is the answer's Error. Never blocks. The caller
  /// keeps the number in flight within what the replica was made for.
  virtual void start(Batch batch) noexcept = 0;
};

/// Makes a replica that answers through `on_end`: so that who waits for the answers can own the replica.
using MakeReplica = std::function<std::unique_ptr<Replica>(Replica::OnEnd on_end)>;

}  // namespace quern
