// RMSNorm and rotary embedding of the heads of q (in place) and of the keys, and the store of keys and values into the
// pages, in one pass: each value of q, k and v is read once and written once.
//
// A block takes a row. A lane holds whole pairs (i, i + d/2), which turn together.
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

template <typename E>
struct Args {
  E* q;
  E* kv;
  int64_t q_stride, kv_stride;
  int32_t q_heads, kv_heads;  // 0: left out
  const float* q_norm;
  const float* k_norm;
  float eps;
  const float* cos_sin;
  const int32_t* block_ids;
  RowsView rows;
  E* pages;
  KvLayout layout;
};

/// Where a row's keys and values go.
template <typename E>
struct Place {
  int32_t position;
  int32_t slot;
  E* block = nullptr;

  __device__ Place(const Args<E>& a, int64_t row) : position(a.rows.positions[row]) {
    slot = position % a.layout.block_tokens;
    if (a.kv_heads == 0) return;
    const int32_t id = a.block_ids[a.rows.table_begins[row] + position / a.layout.block_tokens];
    block = a.pages + a.layout.head_begin(id, 0);
  }
};

/// Rotates a pair after the norm.
__device__ void rotate(float& a, float& b, float scale, float norm_a, float norm_b, float cosine, float sine) {
  const float x = a * scale * norm_a;
  const float y = b * scale * norm_b;
  a = x * cosine - y * sine;
  b = y * cosine + x * sine;
}

/// d = 128: half a warp takes a head, a lane four neighbours of each half; kHeads heads of a lane are in flight before
/// anything waits.
template <typename E>
__device__ void row_of_128(const Args<E>& a, int64_t row) {
  constexpr int kHeads = 3;
  constexpr int kHalf = 64;
  constexpr int kLanes = 16;
  constexpr int kUnits = kThreads / kLanes;
  using Four = Pack<E, 4>;
  using Floats = Pack<float, 4>;
  const int i = threadIdx.x % kLanes * 4;
  const int heads = a.q_heads + 2 * a.kv_heads;
  for (int first = threadIdx.x / kLanes; first < (heads + 1) / 2 * 2; first += kUnits * kHeads) {
    Four low[kHeads], high[kHeads];
#pragma unroll
    for (int n = 0; n < kHeads; ++n) {
      const int head = min(first + n * kUnits, heads - 1);
      const E* from = head < a.q_heads ? a.q + row * a.q_stride + head * 2 * kHalf
                                       : a.kv + row * a.kv_stride + (head - a.q_heads) * 2 * kHalf;
      low[n] = *reinterpret_cast<const Four*>(from + i);
      high[n] = *reinterpret_cast<const Four*>(from + kHalf + i);
    }
    const Place<E> place(a, row);
    const float* angles = a.cos_sin + int64_t{place.position} * 2 * kHalf;
    const auto cosine = *reinterpret_cast<const Floats*>(angles + i);
    const auto sine = *reinterpret_cast<const Floats*>(angles + kHalf + i);
#pragma unroll
    for (int n = 0; n < kHeads; ++n) {
      const int head = first + n * kUnits;
      const bool is_q = head < a.q_heads;
      const int kv_head = head - a.q_heads;
      const bool is_v = kv_head >= a.kv_heads;
      const float* norm = is_q ? a.q_norm : a.k_norm;
      float squares = 0;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float x = to_f32(low[n].at[e]), y = to_f32(high[n].at[e]);
        squares += x * x + y * y;
      }
#pragma unroll
      for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, lanes);
      if (head >= heads) continue;
      if (!is_v) {
        const float scale = 1.0f / sqrtf(squares / (2 * kHalf) + a.eps);
        const auto norm_low = *reinterpret_cast<const Floats*>(norm + i);
        const auto norm_high = *reinterpret_cast<const Floats*>(norm + kHalf + i);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float x = to_f32(low[n].at[e]), y = to_f32(high[n].at[e]);
          rotate(x, y, scale, norm_low.at[e], norm_high.at[e], cosine.at[e], sine.at[e]);
          low[n].at[e] = from_f32<E>(x);
          high[n].at[e] = from_f32<E>(y);
        }
      }
      E* to_low = a.q + row * a.q_stride + head * 2 * kHalf + i;
      E* to_high = to_low + kHalf;
      if (!is_q) {
        E* page = place.block + a.layout.head_begin(0, is_v ? kv_head - a.kv_heads : kv_head) +
                  (is_v ? a.layout.part_elements() : 0);
        to_low = page + a.layout.element(place.slot, i);
        to_high = page + a.layout.element(place.slot, kHalf + i);
      }
      *reinterpret_cast<Four*>(to_low) = low[n];
      *reinterpret_cast<Four*>(to_high) = high[n];
    }
  }
}

/// Any even d.
template <typename E>
__device__ void row_of_any(const Args<E>& a, int64_t row) {
  const Place<E> place(a, row);
  const int d = a.layout.head_dim;
  const int half = d / 2;
  const int lane = threadIdx.x % kWarp;
  const float* cosine = a.cos_sin + int64_t{place.position} * d;
  for (int head = threadIdx.x / kWarp; head < a.q_heads + 2 * a.kv_heads; head += kWarps) {
    const bool is_q = head < a.q_heads;
    const int kv_head = head - a.q_heads;
    const bool is_v = !is_q && kv_head >= a.kv_heads;
    E* from = is_q ? a.q + row * a.q_stride + int64_t{head} * d : a.kv + row * a.kv_stride + int64_t{kv_head} * d;
    E* page = nullptr;
    if (!is_q) {
      page = place.block + a.layout.head_begin(0, is_v ? kv_head - a.kv_heads : kv_head) +
             (is_v ? a.layout.part_elements() : 0);
    }
    if (is_v) {
      for (int i = lane; i < d; i += kWarp) page[a.layout.element(place.slot, i)] = from[i];
      continue;
    }
    float squares = 0;
    for (int i = lane; i < d; i += kWarp) squares += to_f32(from[i]) * to_f32(from[i]);
    const float scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(d) + a.eps);
    const float* norm = is_q ? a.q_norm : a.k_norm;
    for (int i = lane; i < half; i += kWarp) {
      float x = to_f32(from[i]);
      float y = to_f32(from[half + i]);
      rotate(x, y, scale, norm[i], norm[half + i], cosine[i], cosine[half + i]);
      E* to_x = is_q ? from + i : page + a.layout.element(place.slot, i);
      E* to_y = is_q ? from + half + i : page + a.layout.element(place.slot, half + i);
      *to_x = from_f32<E>(x);
      *to_y = from_f32<E>(y);
    }
  }
}

template <typename E, bool kIs128>
__global__ __launch_bounds__(kThreads) void norm_rope_store_row(const Args<E> a) {
  let_next_start();
  const int64_t row = blockIdx.x;
  if constexpr (kIs128) {
    row_of_128(a, row);
  } else {
    row_of_any(a, row);
  }
  // The attention multiplies whole pages: what lies behind a sequence's end has weight 0, and must be a number.
  if (a.kv_heads == 0 || a.rows.ends_span[row] == 0) return;
  const Place<E> place(a, row);
  const int d = a.layout.head_dim;
  const int rest = (a.layout.block_tokens - 1 - place.slot) * d;
  for (int index = threadIdx.x; index < rest * a.kv_heads; index += kThreads) {
    const int head = index / rest;
    const int at = index % rest;
    place.block[a.layout.head_begin(0, head) + a.layout.part_elements() +
                a.layout.element(place.slot + 1 + at / d, at % d)] = from_f32<E>(0.0f);
  }
}

}  // namespace

void norm_rope_store(Matrix q, Matrix kv, const StepView& step, const RowsView& rows, const HeadNormRope& how,
                     const KvPages& pages, const KvLayout& layout, cudaStream_t stream) {
  const int64_t count = q.cols > 0 ? q.rows : kv.rows;
  if (count == 0 || q.cols + kv.cols == 0) return;
  const int64_t d = pages.head_dim;
  with_type(pages.dtype, [&](auto e) {
    using E = decltype(e);
    const Args<E> args{static_cast<E*>(q.data),
                       static_cast<E*>(kv.data),
                       q.stride,
                       kv.stride,
                       static_cast<int32_t>(q.cols / d),
                       static_cast<int32_t>(kv.cols / (2 * d)),
                       how.q_norm == nullptr ? nullptr : how.q_norm->data(),
                       how.k_norm == nullptr ? nullptr : how.k_norm->data(),
                       how.eps,
                       how.rope->data(),
                       step.block_ids,
                       rows,
                       static_cast<E*>(pages.data),
                       layout};
    const bool pairs =
        d == 128 && (q.cols == 0 || aligned_to(q, 2 * sizeof(E))) && (kv.cols == 0 || aligned_to(kv, 2 * sizeof(E)));
    const auto kernel = pairs ? norm_rope_store_row<E, true> : norm_rope_store_row<E, false>;
    kernel<<<static_cast<unsigned>(count), kThreads, 0, stream>>>(args);
  });
  check_launch("norm_rope_store");
}

}  // namespace quern::cuda
