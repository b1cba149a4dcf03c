// Kernels: the hand-written vector loops, one table for each instruction set, chosen once.
//
// Stateless; any thread. Each function works on whole rows, and the bits of a row depend on that row alone. E is f32 or
// bf16 by `dtype`; sums are f32.
#pragma once

#include <cstdint>
#include <string_view>

#include "ops/ops.h"

namespace quern {

constexpr int32_t kHeadDimMax = 1024;  // d; CpuOps::prepare() lets no wider head in

/// The elements of a K/V block: K transposed [K, d, block_tokens], then V [K, block_tokens, d]. K lies transposed
/// because the products over it run along positions.
inline int64_t kv_block_elements(const KvPages& pages) {
  return int64_t{2} * pages.heads * pages.head_dim * pages.block_tokens;
}

/// RMSNorm of one head, then its turn.
struct HeadTurn {
  const float* norm = nullptr;  // [d]
  float eps = 0;
  const float* cos_sin = nullptr;  // [d], of the row's position: d/2 cosines, then d/2 sines
  int64_t head_dim = 0;            // d
};

/// One unit of attention: `row_count` rows of one sequence and the heads of one K/V head.
struct AttentionTile {
  const void* q = nullptr;  // E, row r of head g at q + r * q_stride + g * d
  void* out = nullptr;      // likewise, with out_stride
  int64_t q_stride = 0;     // elements
  int64_t out_stride = 0;
  int32_t row_count = 0;  // row_count * group <= kAttentionRows
  int32_t group = 0;      // query heads for this K/V head
  int64_t position_begin = 0;
  int32_t kv_head = 0;
  const int32_t* blocks = nullptr;
};

constexpr int32_t kAttentionRows = 64;       // rows (tokens x heads) of one pass, at most
constexpr int32_t kAttentionPositions = 64;  // positions of one step of the online softmax

/// Scratch floats that an attention tile needs.
constexpr int64_t attention_scratch_floats(int64_t head_dim) {
  return 2 * kAttentionRows * head_dim + kAttentionRows * (kAttentionPositions + 4) +
         2 * kAttentionPositions * head_dim;
}

struct Kernels {
  std::string_view name;
  /// out E [n] = f32 values of a stored row.
  void (*load_row)(const void* row, DType dtype, int64_t n, float* out);
  /// out E [n] = x.
  void (*store_row)(const float* x, int64_t n, void* out, DType dtype);
  /// out [n] += x.
  void (*add_row)(const float* x, int64_t n, float* out);
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, void* out, DType dtype);
  /// out E [n] = silu(gate) * up.
  void (*swiglu)(const float* gate, const float* up, int64_t n, void* out, DType dtype);
  /// Norms and rotates one head: in E [d] -> out E, elements `out_stride` apart.
  void (*norm_rope)(const void* in, const HeadTurn& turn, void* out, int64_t out_stride, DType dtype);
  /// Flash attention (Dao 2022): online softmax over steps of kAttentionPositions positions that begin at multiples of
  /// it.
  void (*attention)(const AttentionTile& tile, const KvPages& pages, float* scratch);
};

extern const Kernels kKernelsBaseline;
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;

/// The best of this CPU, or the one that QUERN_CPU_ISA names. An Error where that is none of theirs, or one that the
/// CPU has not.
Result<const Kernels*> select_kernels();

}  // namespace quern
