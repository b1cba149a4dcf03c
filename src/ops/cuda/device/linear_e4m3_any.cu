// The products of e4m3 for every shape and device: the plain ones. A block takes a row and 128 outputs, a warp 16 of
// them, a lane the columns lane, lane + 32, ..
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kOutputs = static_cast<int>(kE4m3Block);

struct Args {
  const uint8_t* x;
  int64_t x_stride;
  const uint8_t* w;
  const float* scales;
  void* out;
  int64_t out_stride;
  int32_t outputs, depth;  // N (F), C
};

__device__ float value(uint8_t code) { return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3))); }

__device__ float dot(const Args& a, const uint8_t* x, int output) {
  const uint8_t* w = a.w + int64_t{output} * a.depth;
  float sum = 0;
  for (int i = threadIdx.x % kWarp; i < a.depth; i += kWarp) {
    const int e = static_cast<int8_t>(x[e4m3_exponents_begin(a.depth) + i / kE4m3Block]);
    sum += value(x[i]) * power_of_2(e) * value(w[i]);
  }
  return warp_sum(sum) * a.scales[output];
}

template <ProductEnd kEnd>
__global__ __launch_bounds__(kThreads) void product(const Args a) {
  __shared__ float results[kOutputs];
  const int64_t row = blockIdx.x;
  const int first = blockIdx.y * kOutputs;
  const int count = min(kOutputs, a.outputs - first);
  const uint8_t* x = a.x + row * a.x_stride;
  for (int n = threadIdx.x / kWarp; n < kOutputs; n += kWarps) {
    float result = 0;
    if (n < count) {
      result = dot(a, x, first + n);
      if constexpr (kEnd == ProductEnd::kSwiglu) {
        result = result / (1.0f + __expf(-result)) * dot(a, x, a.outputs + first + n);
      }
    }
    if (threadIdx.x % kWarp == 0) results[n] = result;
  }
  __syncthreads();
  const int n = threadIdx.x;
  const float result = n < kOutputs ? results[n] : 0;
  if constexpr (kEnd == ProductEnd::kSwiglu) {
    const float top = block_max<kThreads>(fabsf(result));
    const float inverse = e4m3_inverse_scale(top);
    uint8_t* to = static_cast<uint8_t*>(a.out) + row * a.out_stride;
    if (n < count) to[first + n] = static_cast<uint8_t>(to_e4m3(result * inverse, 0, 0, 0));
    if (n == 0)
      to[e4m3_exponents_begin(a.outputs) + blockIdx.y] = static_cast<uint8_t>(isnan(inverse) ? 0 : e4m3_exponent(top));
  } else if (n < count) {
    const int64_t at = row * a.out_stride + first + n;
    if constexpr (kEnd == ProductEnd::kAdd) {
      static_cast<float*>(a.out)[at] += result;
    } else {
      static_cast<__nv_bfloat16*>(a.out)[at] = __float2bfloat16_rn(result);
    }
  }
}

}  // namespace

void linear_e4m3_any(ProductEnd end, Matrix x, const E4m3Weight& weight, Matrix out, cudaStream_t stream) {
  const Args args{static_cast<const uint8_t*>(x.data),
                  x.stride,
                  static_cast<const uint8_t*>(weight.values),
                  weight.scales,
                  out.data,
                  out.stride,
                  static_cast<int32_t>(out.cols),
                  static_cast<int32_t>(x.cols)};
  const dim3 grid(static_cast<unsigned>(x.rows), static_cast<unsigned>((out.cols + kOutputs - 1) / kOutputs));
  const auto kernel = end == ProductEnd::kSwiglu ? product<ProductEnd::kSwiglu>
                      : end == ProductEnd::kAdd  ? product<ProductEnd::kAdd>
                                                 : product<ProductEnd::kStore>;
  kernel<<<grid, kThreads, 0, stream>>>(args);
  check_launch("linear_e4m3_any");
}

}  // namespace quern::cuda
