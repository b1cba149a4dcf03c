// out f32 [T, D] = table[id]. Moves 6 bytes for each bf16 value.
#include <cuda_fp16.h>

#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

__device__ float value(float x) { return x; }
__device__ float value(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float value(__half x) { return __half2float(x); }

template <typename S>
__global__ void embed_rows(const int32_t* ids, const S* table, int64_t cols, float* out, int64_t out_stride) {
  const S* from = table + ids[blockIdx.x] * cols;
  float* to = out + blockIdx.x * out_stride;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) to[i] = value(from[i]);
}

template <typename S>
void launch(const StepView& step, const Table& table, Matrix out, cudaStream_t stream) {
  embed_rows<<<static_cast<unsigned>(out.rows), 256, 0, stream>>>(
      step.token_ids, static_cast<const S*>(table.memory->data), table.cols, out.f32(), out.stride);
}

}  // namespace

void embed(const StepView& step, const Table& table, Matrix out, cudaStream_t stream) {
  if (out.rows == 0) return;
  switch (table.dtype) {
    case DType::kF32:
      launch<float>(step, table, out, stream);
      break;
    case DType::kBf16:
      launch<__nv_bfloat16>(step, table, out, stream);
      break;
    case DType::kF16:
      launch<__half>(step, table, out, stream);
      break;
    case DType::kE4m3:
      throw Failure("CUDA: no table is stored in e4m3");
  }
  check_launch("embed");
}

}  // namespace quern::cuda
