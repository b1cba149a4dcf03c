// Qwen3: the forward pass of a Qwen3 text encoder, last token pooled.
//
// Owns weights, activations (sized once, for tokens_max rows) and K/V pages, all of them on the device of its Ops.
// Promises that a vector depends on its sequence alone, as far as the Ops do. One thread at a time.
// Source: Qwen3 technical report (2025), Qwen3-Embedding (2025); the reference is transformers' modeling_qwen3.
#pragma once

#include <functional>
#include <memory>

#include "model/config.h"
#include "model/weights.h"
#include "ops/ops.h"

namespace quern {

class Qwen3 {
 public:
  struct Limits {
    int64_t tokens_max = 0;     // T of the largest step
    int64_t sequences_max = 0;  // of a step, and so its pooled rows
    int64_t positions_max = 0;  // of a sequence
    int32_t kv_blocks = 0;
    int32_t block_tokens = 0;
  };
  /// Sees the residual stream f32 [T, D] after the embedding (layer -1) and after each layer but the last, whose rows
  /// are the pooled ones [B, D].
  using LayerProbe = std::function<void(int64_t layer, Matrix hidden)>;

  /// `ops` has prepared for shape() in `precision`.
  Qwen3(Ops& ops, ModelConfig config, Qwen3Weights weights, const Precision& precision, const Limits& limits);

  /// Bytes of what it allocates beside its weights.
  struct Buffers {
    size_t rope = 0, kv = 0;
    size_t hidden = 0, normed = 0, qkv = 0, mix = 0, gated = 0;
    size_t pooled = 0, pooled_normed = 0, pooled_q = 0, vectors = 0;

    size_t activations() const {
      return rope + hidden + normed + qkv + mix + gated + pooled + pooled_normed + pooled_q + vectors;
    }
  };
  static Buffers buffers(const Ops& ops, const ModelConfig& config, const Precision& precision, const Limits& limits);

  /// What Ops::prepare() is asked about.
  static ModelShape shape(const ModelConfig& config, const Limits& limits);

  /// Enqueues the pass: f32 [B, D], unit vectors of the sequences that end, in order. Good until the next call.
  Matrix forward(const Step& step, const LayerProbe& probe = nullptr);

  const ModelConfig& config() const { return config_; }
  const Precision& precision() const { return precision_; }
  const Limits& limits() const { return limits_; }
  size_t weight_bytes() const { return weights_.bytes(); }
  size_t kv_bytes() const { return kv_->bytes; }
  size_t activation_bytes() const;

 private:
  void layer(int64_t l, const Step& step);
  void last_layer(const Step& step);
  void feed_forward(const Qwen3Layer& w, Matrix x, Matrix normed);
  HeadNormRope head_norm_rope(const Qwen3Layer& w) const;
  KvPages pages(int64_t l) const;

  Ops& ops_;
  ModelConfig config_;
  Qwen3Weights weights_;
  Precision precision_;
  Limits limits_;
  RopeTable rope_;                                  // [positions_max, d]
  std::unique_ptr<Memory> kv_;                      // L x KvPages
  std::unique_ptr<Memory> hidden_, normed_;         // f32 [T, D], X [T, D]
  std::unique_ptr<Memory> qkv_, mix_;               // E [T, (H + 2 K) d], X [T, H d]
  std::unique_ptr<Memory> gated_;                   // X [T, F]
  std::unique_ptr<Memory> pooled_, pooled_normed_;  // f32 [B, D], X [B, D]
  std::unique_ptr<Memory> pooled_q_;                // E [B, H d]
  std::unique_ptr<Memory> vectors_;                 // f32 [B, D]
};

}  // namespace quern
