#include "model/qwen3.h"

#include <algorithm>

namespace quern {
namespace {

KvPages kv_shape(const ModelConfig& config, const Precision& precision, const Qwen3::Limits& limits) {
  return {nullptr,
          precision.kv,
          limits.kv_blocks,
          limits.block_tokens,
          static_cast<int32_t>(config.kv_heads),
          static_cast<int32_t>(config.head_dim)};
}

}  // namespace

Qwen3::Qwen3(Ops& ops, ModelConfig config, Qwen3Weights weights, const Precision& precision, const Limits& limits)
    : ops_(ops),
      config_(std::move(config)),
      weights_(std::move(weights)),
      precision_(precision),
      limits_(limits),
      rope_(make_rope_table(ops, config_.rope_theta, config_.head_dim, limits.positions_max)) {
  const Buffers bytes = buffers(ops, config_, precision, limits);
  kv_ = ops.allocate(bytes.kv);
  hidden_ = ops.allocate(bytes.hidden);
  normed_ = ops.allocate(bytes.normed);
  qkv_ = ops.allocate(bytes.qkv);
  mix_ = ops.allocate(bytes.mix);
  gated_ = ops.allocate(bytes.gated);
  pooled_ = ops.allocate(bytes.pooled);
  pooled_normed_ = ops.allocate(bytes.pooled_normed);
  pooled_q_ = ops.allocate(bytes.pooled_q);
  vectors_ = ops.allocate(bytes.vectors);
}

Qwen3::Buffers Qwen3::buffers(const Ops& ops, const ModelConfig& config, const Precision& precision,
                              const Limits& limits) {
  const size_t T = limits.tokens_max;
  const size_t B = std::min(limits.sequences_max, limits.tokens_max);
  const size_t D = config.hidden_size;
  const size_t q_cols = config.heads * config.head_dim;
  const size_t kv_cols = 2 * config.kv_heads * config.head_dim;
  const size_t E = dtype_bytes(precision.activations);
  const auto inputs = [&](size_t rows, size_t cols) {
    return matrix_bytes(precision.inputs(), static_cast<int64_t>(rows), static_cast<int64_t>(cols));
  };
  Buffers bytes;
  bytes.rope = limits.positions_max * config.head_dim * sizeof(float);
  bytes.kv =
      static_cast<size_t>(config.layers) * limits.kv_blocks * ops.kv_block_bytes(kv_shape(config, precision, limits));
  bytes.hidden = T * D * sizeof(float);
  bytes.normed = inputs(T, D);
  bytes.qkv = T * (q_cols + kv_cols) * E;
  bytes.mix = inputs(T, q_cols);
  bytes.gated = inputs(T, config.intermediate_size);
  bytes.pooled = B * D * sizeof(float);
  bytes.pooled_normed = inputs(B, D);
  bytes.pooled_q = B * q_cols * E;
  bytes.vectors = B * D * sizeof(float);
  return bytes;
}

Matrix Qwen3::forward(const Step& step, const LayerProbe& probe) {
  const int64_t T = step.all.count();
  const int64_t B = step.last.count();
  const int64_t D = config_.hidden_size;
  QUERN_CHECK(T >= 1 && T <= limits_.tokens_max && B <= limits_.sequences_max, "a step beyond the model's limits");
  const Matrix hidden = hidden_->matrix(DType::kF32, T, D);
  const Matrix pooled = pooled_->matrix(DType::kF32, B, D);
  const Matrix vectors = vectors_->matrix(DType::kF32, B, D);

  ops_.run(step, !probe, [&] {
    ops_.embed(step, weights_.embedding, hidden);  // [T, D]
    if (probe) probe(-1, hidden);
    for (int64_t l = 0; l + 1 < config_.layers; ++l) {
      layer(l, step);
      if (probe) probe(l, hidden);
    }
    last_layer(step);
    if (B == 0) return;
    if (probe) probe(config_.layers - 1, pooled);
    ops_.rms_norm(pooled, weights_.final_norm, config_.rms_norm_eps, vectors);  // [B, D]
    ops_.l2_normalize(vectors);
  });
  return vectors;
}

void Qwen3::layer(int64_t l, const Step& step) {
  const Qwen3Layer& w = weights_.layers[l];
  const DType E = precision_.activations;
  const DType X = precision_.inputs();
  const int64_t T = step.all.count();
  const int64_t q_cols = config_.heads * config_.head_dim;
  const int64_t kv_cols = 2 * config_.kv_heads * config_.head_dim;
  const Matrix hidden = hidden_->matrix(DType::kF32, T, config_.hidden_size);
  const Matrix normed = normed_->matrix(X, T, config_.hidden_size);
  const Matrix qkv = qkv_->matrix(E, T, q_cols + kv_cols);
  const Matrix q = qkv.columns(0, q_cols);
  const Matrix kv = qkv.columns(q_cols, kv_cols);
  const Matrix mix = mix_->matrix(X, T, q_cols);

  ops_.rms_norm(hidden, w.attention_norm, config_.rms_norm_eps, normed);  // [T, D]
  ops_.linear(normed, w.qkv->all(), qkv);                                 // [T, (H + 2 K) d]
  ops_.norm_rope_store(q, kv, step, step.all, head_norm_rope(w), pages(l));
  ops_.attention(q, step, step.all, pages(l), mix);  // [T, H d]
  ops_.linear_add(mix, w.o->all(), hidden);          // [T, D]
  feed_forward(w, hidden, normed);
}

/// Every token's K and V, since later tokens read them; beyond them the pooled rows alone.
void Qwen3::last_layer(const Step& step) {
  const int64_t l = config_.layers - 1;
  const Qwen3Layer& w = weights_.layers[l];
  const DType E = precision_.activations;
  const DType X = precision_.inputs();
  const int64_t T = step.all.count();
  const int64_t B = step.last.count();
  const int64_t D = config_.hidden_size;
  const int64_t q_cols = config_.heads * config_.head_dim;
  const Matrix hidden = hidden_->matrix(DType::kF32, T, D);
  const Matrix normed = normed_->matrix(X, T, D);
  const Matrix kv = qkv_->matrix(E, T, 2 * config_.kv_heads * config_.head_dim);
  const Matrix pooled = pooled_->matrix(DType::kF32, B, D);
  const Matrix pooled_normed = pooled_normed_->matrix(X, B, D);
  const Matrix q = pooled_q_->matrix(E, B, q_cols);
  const Matrix mix = mix_->matrix(X, B, q_cols);

  ops_.rms_norm(hidden, w.attention_norm, config_.rms_norm_eps, normed);  // [T, D]
  ops_.linear(normed, w.qkv->parts(Qwen3Layer::kKeys, 2), kv);            // [T, 2 K d]
  ops_.norm_rope_store({}, kv, step, step.all, head_norm_rope(w), pages(l));
  if (B == 0) return;
  ops_.gather_last(hidden, step, pooled);                                // [B, D]
  ops_.gather_last(normed, step, pooled_normed);                         // [B, D]
  ops_.linear(pooled_normed, w.qkv->parts(Qwen3Layer::kQueries, 1), q);  // [B, H d]
  ops_.norm_rope_store(q, {}, step, step.last, head_norm_rope(w), pages(l));
  ops_.attention(q, step, step.last, pages(l), mix);  // [B, H d]
  ops_.linear_add(mix, w.o->all(), pooled);           // [B, D]
  feed_forward(w, pooled, pooled_normed);
}

void Qwen3::feed_forward(const Qwen3Layer& w, Matrix x, Matrix normed) {
  const Matrix gated = gated_->matrix(precision_.inputs(), x.rows, config_.intermediate_size);
  ops_.rms_norm(x, w.mlp_norm, config_.rms_norm_eps, normed);  // [M, D]
  ops_.linear_swiglu(normed, *w.gate_up, gated);               // [M, F]
  ops_.linear_add(gated, w.down->all(), x);                    // [M, D]
}

HeadNormRope Qwen3::head_norm_rope(const Qwen3Layer& w) const {
  return {&w.q_norm, &w.k_norm, config_.rms_norm_eps, &rope_};
}

KvPages Qwen3::pages(int64_t l) const {
  KvPages pages = kv_shape(config_, precision_, limits_);
  pages.data = static_cast<char*>(kv_->data) + l * ops_.kv_block_bytes(pages) * limits_.kv_blocks;
  return pages;
}

ModelShape Qwen3::shape(const ModelConfig& config, const Limits& limits) {
  return {config.hidden_size,       config.heads,      config.kv_heads,    config.head_dim,
          config.intermediate_size, config.vocab_size, limits.tokens_max,  limits.sequences_max,
          limits.positions_max,     limits.kv_blocks,  limits.block_tokens};
}

size_t Qwen3::activation_bytes() const {
  size_t total = rope_.memory->bytes;
  for (const auto* memory :
       {&hidden_, &normed_, &qkv_, &mix_, &gated_, &pooled_, &pooled_normed_, &pooled_q_, &vectors_})
    total += (*memory)->bytes;
  return total;
}

}  // namespace quern
