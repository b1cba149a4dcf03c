// x f32 [B, D] = x / |x|, in place; a row whose norm is zero or not finite stays as it is.
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kThreads = 256;

__global__ __launch_bounds__(kThreads) void normalize_rows(float* x, int64_t stride, int64_t cols) {
  float* row = x + blockIdx.x * stride;
  // In f64, as a row of large values squares beyond f32; B rows are few.
  double squares = 0;
  for (int64_t i = threadIdx.x; i < cols; i += kThreads) squares += double{row[i]} * row[i];
  __shared__ double sums[kThreads];
  sums[threadIdx.x] = squares;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  const double total = sums[0];
  if (!(total > 0) || !isfinite(total)) return;
  const float scale = static_cast<float>(1.0 / sqrt(total));
  for (int64_t i = threadIdx.x; i < cols; i += kThreads) row[i] *= scale;
}

}  // namespace

void l2_normalize(Matrix x, cudaStream_t stream) {
  if (x.rows == 0) return;
  normalize_rows<<<static_cast<unsigned>(x.rows), kThreads, 0, stream>>>(x.f32(), x.stride, x.cols);
  check_launch("l2_normalize");
}

}  // namespace quern::cuda
