#include "model/qwen3.h"

#include <cmath>

namespace quern {
namespace {

/// cos and sin of position * theta^(-2i/d), [positions, d]; the angle in f32, as the reference computes it.
Buffer rope_table(const ModelConfig& config) {
  const int64_t half = config.head_dim / 2;
  Buffer table(static_cast<size_t>(config.max_position_embeddings * config.head_dim) * sizeof(float));
  float* out = static_cast<float*>(table.data());
  std::vector<float> frequency(half);
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    frequency[i] = 1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
  }
  for (int64_t p = 0; p < config.max_position_embeddings; ++p, out += config.head_dim) {
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(p) * frequency[i];
      out[i] = std::cos(angle);
      out[half + i] = std::sin(angle);
    }
  }
  return table;
}

}  // namespace

Qwen3::Qwen3(Ops& ops, ModelConfig config, Qwen3Weights weights, DType dtype, const Limits& limits)
    : ops_(ops),
      config_(std::move(config)),
      weights_(std::move(weights)),
      dtype_(dtype),
      limits_(limits),
      cos_sin_(rope_table(config_)) {
  const size_t T = limits.tokens_max;
  const size_t B = limits.pooled_max;
  const size_t D = config_.hidden_size;
  const size_t q_cols = config_.heads * config_.head_dim;
  const size_t kv_cols = 2 * config_.kv_heads * config_.head_dim;
  const size_t E = dtype_bytes(dtype);
  kv_ = Buffer(config_.layers * limits.kv_blocks * pages(0).block_elements() * E);
  hidden_ = Buffer(T * D * sizeof(float));
  normed_ = Buffer(T * D * E);
  q_ = Buffer(T * q_cols * E);
  kv_new_ = Buffer(T * kv_cols * E);
  mix_ = Buffer(T * q_cols * E);
  gated_ = Buffer(T * config_.intermediate_size * E);
  pooled_ = Buffer(B * D * sizeof(float));
  pooled_normed_ = Buffer(B * D * E);
  vectors_ = Buffer(B * D * sizeof(float));
}

Matrix Qwen3::forward(std::span<const int32_t> ids, std::span<const SequenceStep> sequences, const LayerProbe& probe) {
  const int64_t T = static_cast<int64_t>(ids.size());
  const int64_t D = config_.hidden_size;
  const int64_t F = config_.intermediate_size;
  const int64_t q_cols = config_.heads * config_.head_dim;
  const int64_t kv_cols = 2 * config_.kv_heads * config_.head_dim;
  const float eps = config_.rms_norm_eps;

  std::vector<SequenceRows> all;      // every token of the step
  std::vector<SequenceRows> last;     // the pooled rows, one per sequence that ends
  std::vector<int64_t> last_indices;  // [B], into T
  for (const SequenceStep& step : sequences) {
    const SequenceRows& rows = step.rows;
    all.push_back(rows);
    if (!step.is_last) continue;
    last.push_back({static_cast<int64_t>(last.size()), 1, rows.position_begin + rows.row_count - 1, rows.blocks});
    last_indices.push_back(rows.row_begin + rows.row_count - 1);
  }
  const int64_t B = static_cast<int64_t>(last.size());
  QUERN_CHECK(T >= 1 && T <= limits_.tokens_max && B <= limits_.pooled_max, "a step beyond the model's limits");

  const Matrix hidden = view(hidden_, DType::kF32, T, D);
  const Matrix normed = view(normed_, dtype_, T, D);
  const Matrix kv = view(kv_new_, dtype_, T, kv_cols);
  const Matrix pooled = view(pooled_, DType::kF32, B, D);
  const Matrix pooled_normed = view(pooled_normed_, dtype_, B, D);
  const Matrix vectors = view(vectors_, DType::kF32, B, D);

  ops_.embed(ids, weights_.embedding, hidden);  // [T, D]
  if (probe) probe(-1, hidden);
  for (int64_t l = 0; l < config_.layers; ++l) {
    const Qwen3Layer& layer = weights_.layers[l];
    const bool final = l + 1 == config_.layers;
    const float* cos_sin = static_cast<const float*>(cos_sin_.data());
    const HeadNormRope q_rope{config_.head_dim, layer.q_norm.data(), eps, cos_sin};
    const HeadNormRope k_rope{config_.head_dim, layer.k_norm.data(), eps, cos_sin};

    ops_.rms_norm(hidden, layer.attention_norm.data(), eps, normed);  // [T, D]
    ops_.linear(normed, *layer.kv, kv);                               // [T, 2 K d]
    ops_.norm_rope_store_kv(kv, all, k_rope, pages(l));
    // Above this line every token counts: later tokens read its K and V. Below it, the last layer needs the pooled
    // rows.
    if (final && B == 0) break;
    if (final) {
      ops_.gather_rows(hidden, last_indices, pooled);         // [B, D]
      ops_.gather_rows(normed, last_indices, pooled_normed);  // [B, D]
    }
    const Matrix x = final ? pooled : hidden;                // [M, D], M = T or B
    const Matrix x_normed = final ? pooled_normed : normed;  // [M, D]
    const std::span<const SequenceRows> rows = final ? last : all;
    const Matrix q = view(q_, dtype_, x.rows, q_cols);      // [M, H d]
    const Matrix mix = view(mix_, dtype_, x.rows, q_cols);  // [M, H d]
    const Matrix gated = view(gated_, dtype_, x.rows, F);   // [M, F]
    ops_.linear(x_normed, *layer.q, q);
    ops_.norm_rope_q(q, rows, q_rope);
    ops_.attention(q, rows, pages(l), mix);
    ops_.linear_add(mix, *layer.o, x);

    ops_.rms_norm(x, layer.mlp_norm.data(), eps, x_normed);
    ops_.linear_swiglu(x_normed, *layer.gate, *layer.up, gated);
    ops_.linear_add(gated, *layer.down, x);
    if (probe) probe(l, x);
  }
  if (B > 0) {
    ops_.rms_norm(pooled, weights_.final_norm.data(), eps, vectors);  // [B, D]
    ops_.l2_normalize(vectors);
  }
  return vectors;
}

size_t Qwen3::activation_bytes() const {
  size_t total = cos_sin_.bytes();
  for (const Buffer* buffer : {&hidden_, &normed_, &q_, &kv_new_, &mix_, &gated_, &pooled_, &pooled_normed_, &vectors_})
    total += buffer->bytes();
  return total;
}

KvPages Qwen3::pages(int64_t layer) const {
  KvPages pages{nullptr,
                dtype_,
                limits_.kv_blocks,
                limits_.block_tokens,
                static_cast<int32_t>(config_.kv_heads),
                static_cast<int32_t>(config_.head_dim)};
  const size_t layer_bytes = pages.block_elements() * limits_.kv_blocks * dtype_bytes(dtype_);
  if (kv_.data() != nullptr) pages.data = static_cast<char*>(kv_.data()) + layer * layer_bytes;
  return pages;
}

Matrix Qwen3::view(const Buffer& buffer, DType dtype, int64_t rows, int64_t cols) const {
  QUERN_CHECK(static_cast<size_t>(rows * cols) * dtype_bytes(dtype) <= buffer.bytes(), "a view beyond its buffer");
  return {buffer.data(), dtype, rows, cols};
}

}  // namespace quern
