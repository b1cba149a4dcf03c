// out E [M, F] = silu(gate) * up, from gate_up E [M, 2 F]. Moves 3 values for each result.
#include <algorithm>

#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

template <typename E, int N>
__global__ void swiglu_rows(const E* gate_up, int64_t in_stride, int64_t cols, E* out, int64_t out_stride) {
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * N;
  if (i >= cols) return;
  const E* row = gate_up + blockIdx.y * in_stride;
  const auto gate = *reinterpret_cast<const Pack<E, N>*>(row + i);
  const auto up = *reinterpret_cast<const Pack<E, N>*>(row + cols + i);
  Pack<E, N> result;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const float g = to_f32(gate.at[n]);
    result.at[n] = from_f32<E>(g / (1.0f + __expf(-g)) * to_f32(up.at[n]));
  }
  *reinterpret_cast<Pack<E, N>*>(out + blockIdx.y * out_stride + i) = result;
}

}  // namespace

void swiglu(Matrix gate_up, Matrix out, cudaStream_t stream) {
  constexpr int64_t kThreads = 256;
  constexpr int64_t kRowsMax = 65535;  // of a grid's second dimension
  with_type(out.dtype, [&](auto e) {
    using E = decltype(e);
    constexpr int kPack = 16 / sizeof(E);
    const bool packed = out.cols % kPack == 0 && aligned_to(gate_up, 16) && aligned_to(out, 16);
    const int64_t per_block = kThreads * (packed ? kPack : 1);
    for (int64_t row = 0; row < out.rows; row += kRowsMax) {
      const dim3 grid(static_cast<unsigned>((out.cols + per_block - 1) / per_block),
                      static_cast<unsigned>(std::min(kRowsMax, out.rows - row)));
      const E* from = static_cast<const E*>(gate_up.data) + row * gate_up.stride;
      E* to = static_cast<E*>(out.data) + row * out.stride;
      const auto kernel = packed ? swiglu_rows<E, kPack> : swiglu_rows<E, 1>;
      kernel<<<grid, kThreads, 0, stream>>>(from, gate_up.stride, out.cols, to, out.stride);
    }
  });
  check_launch("swiglu");
}

}  // namespace quern::cuda
