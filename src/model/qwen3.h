// Qwen3: the forward pass of a Qwen3 text encoder, last token pooled.
//
// Owns weights, activations (sized once, for tokens_max rows) and K/V pages. Promises that a vector depends on its
// sequence alone, bit for bit. One thread at a time.
// Source: Qwen3 technical report (2025), Qwen3-Embedding (2025); the reference is transformers' modeling_qwen3.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/weights.h"
#include "ops/ops.h"
#include "tensor/buffer.h"

namespace quern {

/// One sequence's part of a step: `rows` in the step's tokens; pooled when is_last.
struct SequenceStep {
  SequenceRows rows;
  bool is_last = false;
};

class Qwen3 {
 public:
  struct Limits {
    int64_t tokens_max = 0;  // T of the largest step
    int64_t pooled_max = 0;  // spans with is_last in one step
    int32_t kv_blocks = 0;
    int32_t block_tokens = 0;
  };
  /// Sees the residual stream f32 [T, D] after the embedding (layer -1) and after each layer but the last, whose rows
  /// are the pooled ones [B, D].
  using LayerProbe = std::function<void(int64_t layer, Matrix hidden)>;

  Qwen3(Ops& ops, ModelConfig config, Qwen3Weights weights, DType dtype, const Limits& limits);

  /// f32 [B, D] of the sequences with is_last, in order: unit vectors. Good until the next call.
  Matrix forward(std::span<const int32_t> ids, std::span<const SequenceStep> sequences,
                 const LayerProbe& probe = nullptr);

  const ModelConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }
  size_t weight_bytes() const { return weights_.bytes(); }
  size_t kv_bytes() const { return kv_.bytes(); }
  size_t activation_bytes() const;

 private:
  KvPages pages(int64_t layer) const;
  Matrix view(const Buffer& buffer, DType dtype, int64_t rows, int64_t cols) const;

  Ops& ops_;
  ModelConfig config_;
  Qwen3Weights weights_;
  DType dtype_;
  Limits limits_;
  Buffer cos_sin_;                 // f32 [max positions, d]
  Buffer kv_;                      // L x KvPages
  Buffer hidden_, normed_;         // f32 [T, D], E [T, D]
  Buffer q_, kv_new_, mix_;        // E [T, H d], E [T, 2 K d], E [T, H d]
  Buffer gated_;                   // E [T, F]
  Buffer pooled_, pooled_normed_;  // f32 [B, D], E [B, D]
  Buffer vectors_;                 // f32 [B, D]
};

}  // namespace quern
