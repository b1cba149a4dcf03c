// To e4m3: the rows that a kernel left in f32, a warp for each block of 128 columns; and a weight's rows as they lie in
// the checkpoint, a block of threads for each.
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerLane = static_cast<int>(kE4m3Block) / kWarp;

__global__ __launch_bounds__(kThreads) void quantise_blocks(const float* x, int64_t x_stride, int64_t rows, int cols,
                                                            uint8_t* out, int64_t out_stride) {
  let_next_start();
  wait_for_previous();
  const int blocks = (cols + static_cast<int>(kE4m3Block) - 1) / static_cast<int>(kE4m3Block);
  const int64_t index = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
  if (index >= rows * blocks) return;
  const int block = static_cast<int>(index % blocks);
  const float* from = x + index / blocks * x_stride;
  uint8_t* to = out + index / blocks * out_stride;
  const int first = block * static_cast<int>(kE4m3Block) + static_cast<int>(threadIdx.x) % kWarp;
  float values[kPerLane];
  float top = 0;
#pragma unroll
  for (int n = 0; n < kPerLane; ++n) {
    values[n] = first + n * kWarp < cols ? from[first + n * kWarp] : 0.0f;
    top = fmaxf(top, fabsf(values[n]));
  }
  top = warp_max(top);
  const float inverse = e4m3_inverse_scale(top);
#pragma unroll
  for (int n = 0; n < kPerLane; ++n) {
    if (first + n * kWarp < cols) to[first + n * kWarp] = static_cast<uint8_t>(to_e4m3(values[n] * inverse, 0, 0, 0));
  }
  if (threadIdx.x % kWarp == 0)
    to[e4m3_exponents_begin(cols) + block] = static_cast<uint8_t>(isnan(inverse) ? 0 : e4m3_exponent(top));
}

template <typename S>
__global__ __launch_bounds__(kThreads) void quantise_weight_row(const S* rows, int64_t cols, uint8_t* out,
                                                                float* scales) {
  const S* from = rows + blockIdx.x * cols;
  uint8_t* to = out + blockIdx.x * cols;
  float top = 0;
  for (int64_t i = threadIdx.x; i < cols; i += kThreads) top = fmaxf(top, fabsf(to_f32(from[i])));
  const WeightScale by = e4m3_weight_scale(block_max<kThreads>(top));
  for (int64_t i = threadIdx.x; i < cols; i += kThreads)
    to[i] = static_cast<uint8_t>(to_e4m3(to_f32(from[i]) * by.inverse, 0, 0, 0));
  if (threadIdx.x == 0) scales[blockIdx.x] = by.scale;
}

}  // namespace

void quantise(Matrix x, Matrix out, bool early, cudaStream_t stream) {
  if (x.rows == 0) return;
  const int64_t warps = x.rows * ((x.cols + kE4m3Block - 1) / kE4m3Block);
  const int blocks = static_cast<int>((warps * kWarp + kThreads - 1) / kThreads);
  const auto* from = static_cast<const float*>(x.data);
  auto* to = static_cast<uint8_t*>(out.data);
  const int cols = static_cast<int>(x.cols);
  if (early)
    return launch_early(quantise_blocks, blocks, kThreads, stream, from, x.stride, x.rows, cols, to, out.stride);
  quantise_blocks<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(from, x.stride, x.rows, cols, to, out.stride);
  check_launch("quantise");
}

void quantise_weight(const void* rows, DType dtype, int64_t count, int64_t cols, void* out, float* scales,
                     cudaStream_t stream) {
  if (count == 0) return;
  with_type(dtype, [&](auto s) {
    quantise_weight_row<<<static_cast<unsigned>(count), kThreads, 0, stream>>>(
        static_cast<const decltype(s)*>(rows), cols, static_cast<uint8_t*>(out), scales);
  });
  check_launch("quantise_weight");
}

}  // namespace quern::cuda
