// Ops: the vocabulary that the model is written in. Two implementations: the readable oracle (ops/naive.h) and the
// fast one (ops/cpu/cpu_ops.h).
//
// Owns nothing but its packed weights and scratch space. Promises: the result for one row (one span) depends on that
// row (span) alone, bit for bit, whatever else is in the call. One thread at a time calls an Ops.
//
// Shapes: T tokens, D hidden, H query heads, K key/value heads, d head width, F intermediate, N and C the outputs and
// inputs of a product. Matrices are dense and row-major. "E" is the compute dtype, f32 or bf16; sums are f32 always,
// and so is the residual stream.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace quern {

/// A view of dense rows; somebody else owns the memory.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;

  float* f32() const { return static_cast<float*>(data); }
  bf16* b16() const { return static_cast<bf16*>(data); }
};

/// A weight as it lies in the checkpoint: [rows, cols] of any storage dtype.
struct ConstMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
};

/// A linear layer's weight in the layout that its Ops likes: y[N] = W[N, C] x[C].
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  virtual size_t bytes() const = 0;
  int64_t out_cols = 0;  // N
  int64_t in_cols = 0;   // C
};

/// The K/V pages of one layer. Block b holds, at data + b * block_elements():
///   K transposed [K, d, block_tokens], then V [K, block_tokens, d], in dtype E.
/// K lies transposed because the products over it run along positions.
struct KvPages {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int32_t blocks = 0;
  int32_t block_tokens = 0;
  int32_t heads = 0;  // K
  int32_t head_dim = 0;

  int64_t block_elements() const { return int64_t{2} * heads * head_dim * block_tokens; }
};

/// Consecutive rows of one sequence: row_begin + i has position position_begin + i; `blocks` is the sequence's page
/// table from position 0 on.
struct SequenceRows {
  int64_t row_begin = 0;
  int64_t row_count = 0;
  int64_t position_begin = 0;
  const int32_t* blocks = nullptr;
};

/// RMSNorm of each head, then rotary embedding (half-split pairs, as Qwen3).
struct HeadNormRope {
  int64_t head_dim = 0;                // d
  const float* norm_weight = nullptr;  // [d]
  float eps = 0;
  const float* cos_sin = nullptr;  // [positions, d]: d/2 cosines, then d/2 sines
};

class Ops {
 public:
  virtual ~Ops() = default;

  virtual std::string_view name() const = 0;
  /// The compute dtype to take for weights stored as bf16 on this machine: bf16 only where products of it are native.
  virtual DType preferred_dtype() const = 0;
  virtual bool supports(DType compute) const = 0;
  virtual int threads() const = 0;

  /// Copies `parts`, stacked along rows, into a packed weight of dtype `compute`.
  virtual std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType compute) = 0;

  /// out f32 [T, D] = table[ids[t]].
  virtual void embed(std::span<const int32_t> ids, const ConstMatrix& table, Matrix out) = 0;
  /// out E [T, D] = x / sqrt(mean(x^2) + eps) * weight; x f32 [T, D]. (Zhang and Sennrich 2019)
  virtual void rms_norm(Matrix x, const float* weight, float eps, Matrix out) = 0;
  /// out E [T, N] = x W^T; x E [T, C].
  virtual void linear(Matrix x, const LinearWeight& weight, Matrix out) = 0;
  /// residual f32 [T, N] += x W^T; x E [T, C].
  virtual void linear_add(Matrix x, const LinearWeight& weight, Matrix residual) = 0;
  /// out E [T, F] = silu(x Wgate^T) * (x Wup^T); x E [T, C]. (Shazeer 2020)
  virtual void linear_swiglu(Matrix x, const LinearWeight& gate, const LinearWeight& up, Matrix out) = 0;
  /// Norms and rotates the heads of q E [T, H d] in place.
  virtual void norm_rope_q(Matrix q, std::span<const SequenceRows> rows, const HeadNormRope& rope) = 0;
  /// kv E [T, 2 K d] is keys, then values: norms and rotates the keys and writes both into the pages of their
  /// positions.
  virtual void norm_rope_store_kv(Matrix kv, std::span<const SequenceRows> rows, const HeadNormRope& rope,
                                  const KvPages& pages) = 0;
  /// Causal attention with grouped heads: row at position p sees positions 0..p of its sequence.
  /// out E [T, H d]; q E [T, H d]; scores are scaled by 1 / sqrt(d).
  virtual void attention(Matrix q, std::span<const SequenceRows> rows, const KvPages& pages, Matrix out) = 0;
  /// out [B, D] = x[indices[b]], both of one dtype.
  virtual void gather_rows(Matrix x, std::span<const int64_t> indices, Matrix out) = 0;
  /// x f32 [B, D] = x / |x|, in place; a row whose norm is zero or not finite stays as it is.
  virtual void l2_normalize(Matrix x) = 0;
};

}  // namespace quern
