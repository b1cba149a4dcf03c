// Blocks of e4m3 (tensor/e4m3.h) as the kernels that hold results in the matrix units' order write them.
#pragma once

#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/hopper.cuh"

namespace quern::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// Writes block `block` of a row whose exponents begin at `exponents`, 16 bytes a lane. Four neighbouring lanes hold
/// its 128 values, lane n columns 2n and 2n + 1 of each 8: value(2 * i + column) of the i-th 8. Every lane calls it;
/// where `exists` is false nothing is written.
template <typename Value>
__device__ inline void store_block(uint8_t* row, int64_t exponents, int block, bool exists, const Value& value) {
  float top = 0;
#pragma unroll
  for (int i = 0; i < 32; ++i) top = fmaxf(top, fabsf(value(i)));
  top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
  top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
  const float inverse = e4m3_inverse_scale(top);
  const int lane = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t words[4];  // each of two eights
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = 16 * half + 4 * i;
      words[i] =
          to_e4m3(value(at) * inverse, value(at + 1) * inverse, value(at + 2) * inverse, value(at + 3) * inverse);
    }
    transpose_4_lanes(words);
    if (!exists) continue;
    *reinterpret_cast<uint4*>(row + block * kE4m3Block + 64 * half + 16 * lane) =
        make_uint4(__byte_perm(words[0], words[1], 0x5410), __byte_perm(words[2], words[3], 0x5410),
                   __byte_perm(words[0], words[1], 0x7632), __byte_perm(words[2], words[3], 0x7632));
  }
  if (exists && lane == 0) row[exponents + block] = static_cast<uint8_t>(isnan(inverse) ? 0 : e4m3_exponent(top));
}

#endif

}  // namespace quern::cuda
