#include "model/memory_bytes.h"

#include <algorithm>

namespace quern {

MemoryBytes planned_memory(const Ops& ops, const ModelConfig& config, const Precision& precision,
                           const Qwen3::Limits& limits, DType stored) {
  const size_t L = config.layers, D = config.hidden_size, F = config.intermediate_size;
  const size_t q_cols = config.heads * config.head_dim;
  const size_t kv_cols = 2 * config.kv_heads * config.head_dim;
  const size_t T = limits.tokens_max;
  const size_t B = std::min(limits.sequences_max, limits.tokens_max);
  const size_t E = dtype_bytes(precision.activations);
  MemoryBytes bytes;
  const size_t products = (q_cols + kv_cols) * D + D * q_cols + 3 * F * D;  // of a layer: qkv, o, gate, up, down
  const size_t norms = 2 * D + 2 * config.head_dim;
  bytes.weights = L * (products * dtype_bytes(precision.weights) + norms * sizeof(float)) + D * sizeof(float) +
                  config.vocab_size * D * dtype_bytes(stored);
  const size_t all_rows = D * sizeof(float) + (D + 2 * q_cols + kv_cols + F) * E;
  const size_t pooled_rows = 2 * D * sizeof(float) + (D + q_cols) * E;
  bytes.activations = T * all_rows + B * pooled_rows + limits.positions_max * config.head_dim * sizeof(float);
  const KvPages shape{nullptr,
                      precision.kv,
                      limits.kv_blocks,
                      limits.block_tokens,
                      static_cast<int32_t>(config.kv_heads),
                      static_cast<int32_t>(config.head_dim)};
  bytes.kv = L * limits.kv_blocks * ops.kv_block_bytes(shape);
  return bytes;
}

}  // namespace quern
