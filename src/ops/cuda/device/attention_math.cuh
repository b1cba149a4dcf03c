// What a warpgroup of the attention does in registers, 64 rows at a time: the products with K and V, the mask, and the
// softmax as the keys pass (Milakov and Gimelshein 2018; Dao and others 2022).
#pragma once

#include <cmath>

#include "ops/cuda/device/hopper.cuh"

namespace quern::cuda {

constexpr int kHeadDim = 128;
constexpr int kKeys = 128;  // of a stage

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// scores [64, 128] = queries [64, 128] K^T.
template <typename E>
__device__ inline void multiply_keys(float (&scores)[64], const uint32_t (&queries)[8][4], const E* k) {
#pragma unroll
  for (int step = 0; step < kHeadDim / 16; ++step) {
    const E* columns = k + step / 4 * 512 + step % 4 * 16;
    wgmma_64x128x16<E, 0>(scores, queries[step], matrix_of(columns, 16, 2048), step > 0);
  }
}

/// mix [64, 128] += weights [64, 128] V.
template <typename E>
__device__ inline void multiply_values(float (&mix)[64], const uint32_t (&weights)[8][4], const E* v, bool accumulate) {
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step)
    wgmma_64x128x16<E, 1>(mix, weights[step], matrix_of(v + step * 2048, 1024, 2048), accumulate || step > 0);
}

/// 2^x by the special function unit alone; a result below 2^-126 is 0.
__device__ inline float exp2_fast(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// A thread's two rows of the softmax so far.
struct Softmax {
  float top[2] = {-INFINITY, -INFINITY};  // of scores times scale_log2
  float total[2] = {0, 0};                // this thread's share

  /// Turns scores into weights, in place; keep[r] is what the earlier weights of row r are to be multiplied with.
  __device__ void pass(float (&scores)[64], float scale_log2, float (&keep)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float highest = scores[2 * r];
#pragma unroll
      for (int i = 0; i < 16; ++i) highest = fmaxf(highest, fmaxf(scores[4 * i + 2 * r], scores[4 * i + 2 * r + 1]));
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
      const float new_top = fmaxf(top[r], highest * scale_log2);
      keep[r] = exp2_fast(top[r] - new_top);
      top[r] = new_top;
      float sum = 0;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& score = scores[4 * i + 2 * r + e];
          score = exp2_fast(score * scale_log2 - new_top);
          sum += score;
        }
      }
      total[r] = total[r] * keep[r] + sum;
    }
  }
};

/// Keys behind a row's position weigh nothing.
__device__ inline void mask(float (&scores)[64], int first_key, const int (&positions)[2]) {
  const int column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    const int key = first_key + i / 4 * 8 + column + i % 2;
    if (key > positions[i / 2 % 2]) scores[i] = -INFINITY;
  }
}

template <typename E>
__device__ inline void pack_weights(uint32_t (&weights)[8][4], const float (&scores)[64]) {
#pragma unroll
  for (int step = 0; step < 8; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) weights[step][i] = packed<E>(scores[8 * step + 2 * i], scores[8 * step + 2 * i + 1]);
  }
}

#endif

}  // namespace quern::cuda
