// MemoryBytes: what a model holds, known from its shape before a weight is read. Pure functions; any thread.
#pragma once

#include <cstddef>

#include "model/config.h"
#include "model/qwen3.h"
#include "ops/ops.h"

namespace quern {

struct MemoryBytes {
  size_t weights = 0;      // packed copies, norms and the embedding table
  size_t kv = 0;           // reserved; resident as it is used
  size_t activations = 0;  // reserved; resident as batches grow
  size_t scratch = 0;      // the Ops' own
};

/// What a Qwen3 of these limits will hold. Packing may pad a weight by a few columns, which is not counted. `table` is
/// the embedding table's dtype, which is kept.
MemoryBytes planned_memory(const Ops& ops, const ModelConfig& config, const Precision& precision,
                           const Qwen3::Limits& limits, DType table);

}  // namespace quern
