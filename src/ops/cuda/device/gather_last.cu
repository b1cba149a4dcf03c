// out [B, D] = x[last_indices[b]].
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

template <typename E>
__global__ void gather_rows(const E* x, int64_t x_stride, const int32_t* indices, int64_t cols, E* out,
                            int64_t out_stride) {
  const E* from = x + indices[blockIdx.x] * x_stride;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) out[blockIdx.x * out_stride + i] = from[i];
}

}  // namespace

void gather_last(Matrix x, const StepView& step, Matrix out, cudaStream_t stream) {
  if (out.rows == 0) return;
  if (x.dtype == DType::kE4m3) {  // whole rows, exponents and all
    const auto as_words = [](const Matrix& m) {
      return Matrix{m.data, DType::kF32, m.rows, m.stride / 4, m.stride / 4};
    };
    return gather_last(as_words(x), step, as_words(out), stream);
  }
  with_type(x.dtype, [&](auto e) {
    using E = decltype(e);
    gather_rows<<<static_cast<unsigned>(out.rows), 256, 0, stream>>>(
        static_cast<const E*>(x.data), x.stride, step.last_indices, out.cols, static_cast<E*>(out.data), out.stride);
  });
  check_launch("gather_last");
}

}  // namespace quern::cuda
