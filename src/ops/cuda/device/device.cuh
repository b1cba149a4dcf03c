// What the kernels share: formats, and sums over a warp and a block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "ops/cuda/device/cuda_error.h"
#include "ops/ops.h"

namespace quern::cuda {

constexpr int kWarp = 32;

__device__ inline float to_f32(float x) { return x; }
__device__ inline float to_f32(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_f32(__half x) { return __half2float(x); }
template <typename E>
__device__ E from_f32(float x);
template <>
__device__ inline float from_f32<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 from_f32<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half from_f32<__half>(float x) {
  return __float2half_rn(x);  // beyond 65,504 it is infinite
}

/// Four values as e4m3, the first in the lowest byte.
__device__ inline uint32_t to_e4m3(float a, float b, float c, float d) {
  const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  return low | static_cast<uint32_t>(__nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3)) << 16;
}
/// 2^e for -126 <= e; 0 below, infinite above 127.
__device__ inline float power_of_2(int e) { return __int_as_float((min(max(e, -127), 128) + 127) << 23); }

/// N neighbours, moved at once.
template <typename E, int N>
struct alignas(sizeof(E) * N) Pack {
  E at[N];
};

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  return x;
}

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lanes));
  return x;
}
/// The largest over a block of kThreads. Every thread calls it.
template <int kThreads>
__device__ float block_max(float x) {
  __shared__ float tops[kThreads / kWarp];
  x = warp_max(x);
  if (threadIdx.x % kWarp == 0) tops[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = tops[0];
#pragma unroll
  for (int w = 1; w < kThreads / kWarp; ++w) x = fmaxf(x, tops[w]);
  return x;
}

/// The sum over a block of kThreads, in an order that is always the same. Every thread calls it.
template <int kThreads>
__device__ float block_sum(float x) {
  __shared__ float sums[kThreads / kWarp];
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = 0;
#pragma unroll
  for (int w = 0; w < kThreads / kWarp; ++w) x += sums[w];
  return x;
}

/// From Hopper on: the next kernel may start, as far as it does not need this one's results.
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/// What the kernel before wrote is there after this. Every kernel that launch_early() starts calls it.
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Starts a kernel that calls wait_for_previous(), maybe before the one before it has ended.
template <typename Kernel, typename... Args>
void launch_early(Kernel kernel, int blocks, int threads, cudaStream_t stream, const Args&... args) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, kernel, args...), "starting a kernel");
}

inline bool aligned_to(const Matrix& m, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(m.data) % bytes == 0 && m.stride_bytes() % bytes == 0;
}

/// Calls f with a value of the format's C++ type.
template <typename F>
void with_type(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kBf16:
      return f(__nv_bfloat16{});
    case DType::kF16:
      return f(__half{});
    default:
      throw Failure("CUDA: a kernel was asked for a format that it does not have");
  }
}

}  // namespace quern::cuda
