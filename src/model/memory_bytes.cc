#include "model/memory_bytes.h"

namespace quern {

MemoryBytes planned_memory(const Ops& ops, const ModelConfig& config, const Precision& precision,
                           const Qwen3::Limits& limits, DType table) {
  const size_t L = config.layers, D = config.hidden_size, F = config.intermediate_size;
  const size_t q_cols = config.heads * config.head_dim;
  const size_t kv_cols = 2 * config.kv_heads * config.head_dim;
  const size_t products = (q_cols + kv_cols) * D + D * q_cols + 3 * F * D;  // of a layer: qkv, o, gate, up, down
  const size_t norms = 2 * D + 2 * config.head_dim;
  const Qwen3::Buffers buffers = Qwen3::buffers(ops, config, precision, limits);
  MemoryBytes bytes;
  const size_t outputs = precision.weights == DType::kE4m3 ? q_cols + kv_cols + 2 * D + 2 * F : 0;  // a scale each
  bytes.weights = L * (outputs * sizeof(float) + products * dtype_bytes(precision.weights) + norms * sizeof(float)) +
                  D * sizeof(float) + config.vocab_size * D * dtype_bytes(table);
  bytes.activations = buffers.activations();
  bytes.kv = buffers.kv;
  bytes.scratch = ops.scratch_bytes(Qwen3::shape(config, limits), precision);
  return bytes;
}

}  // namespace quern
