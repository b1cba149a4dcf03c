// out E [M, D] = x / sqrt(mean(x^2) + eps) * weight, x f32. Moves 4 + sizeof(E) bytes for each value: a block takes a
// row and keeps it in registers between the sum and the product.
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kThreads = 128;

template <typename E, int kPacks>
__global__ __launch_bounds__(kThreads) void rms_norm_row(const float* x, int64_t x_stride, const float* weight,
                                                         float eps, int cols, E* out, int64_t out_stride) {
  let_next_start();
  const auto* from = reinterpret_cast<const Pack<float, 4>*>(x + blockIdx.x * x_stride);
  const auto* scales = reinterpret_cast<const Pack<float, 4>*>(weight);
  auto* to = reinterpret_cast<Pack<E, 4>*>(out + blockIdx.x * out_stride);
  const int packs = cols / 4;
  Pack<float, 4> values[kPacks];
  float squares = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int index = threadIdx.x + p * kThreads;
    values[p] = index < packs ? from[index] : Pack<float, 4>{};
  }
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
#pragma unroll
    for (int i = 0; i < 4; ++i) squares += values[p].at[i] * values[p].at[i];
  }
  const float scale = 1.0f / sqrtf(block_sum<kThreads>(squares) / static_cast<float>(cols) + eps);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int index = threadIdx.x + p * kThreads;
    if (index >= packs) break;
    const Pack<float, 4> w = scales[index];
    Pack<E, 4> result;
#pragma unroll
    for (int i = 0; i < 4; ++i) result.at[i] = from_f32<E>(values[p].at[i] * scale * w.at[i]);
    to[index] = result;
  }
}

/// The same to e4m3, all blocks of a row with one exponent.
template <int kPacks>
__global__ __launch_bounds__(kThreads) void rms_norm_row_e4m3(const float* x, int64_t x_stride, const float* weight,
                                                              float eps, int cols, uint8_t* out, int64_t out_stride) {
  let_next_start();
  const auto* from = reinterpret_cast<const Pack<float, 4>*>(x + blockIdx.x * x_stride);
  const auto* scales = reinterpret_cast<const Pack<float, 4>*>(weight);
  uint8_t* row = out + blockIdx.x * out_stride;
  const int packs = cols / 4;
  Pack<float, 4> values[kPacks];
  float squares = 0, top = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int index = threadIdx.x + p * kThreads;
    values[p] = index < packs ? from[index] : Pack<float, 4>{};
  }
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
#pragma unroll
    for (int i = 0; i < 4; ++i) squares += values[p].at[i] * values[p].at[i];
  }
  const float scale = 1.0f / sqrtf(block_sum<kThreads>(squares) / static_cast<float>(cols) + eps);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int index = threadIdx.x + p * kThreads;
    if (index >= packs) break;
    const Pack<float, 4> w = scales[index];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[p].at[i] = values[p].at[i] * scale * w.at[i];
      top = fmaxf(top, fabsf(values[p].at[i]));
    }
  }
  top = block_max<kThreads>(top);
  const float inverse = e4m3_inverse_scale(top);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int index = threadIdx.x + p * kThreads;
    if (index >= packs) break;
    const Pack<float, 4>& v = values[p];
    reinterpret_cast<uint32_t*>(row)[index] =
        to_e4m3(v.at[0] * inverse, v.at[1] * inverse, v.at[2] * inverse, v.at[3] * inverse);
  }
  const int blocks = (cols + static_cast<int>(kE4m3Block) - 1) / static_cast<int>(kE4m3Block);
  for (int block = threadIdx.x; block < blocks; block += kThreads)
    row[e4m3_exponents_begin(cols) + block] = static_cast<uint8_t>(isnan(inverse) ? 0 : e4m3_exponent(top));
}

/// Any width and alignment: reads the row three times.
__global__ __launch_bounds__(kThreads) void rms_norm_any_e4m3(const float* x, int64_t x_stride, const float* weight,
                                                              float eps, int cols, uint8_t* out, int64_t out_stride) {
  const float* from = x + blockIdx.x * x_stride;
  uint8_t* row = out + blockIdx.x * out_stride;
  float squares = 0, top = 0;
  for (int i = threadIdx.x; i < cols; i += kThreads) squares += from[i] * from[i];
  const float scale = 1.0f / sqrtf(block_sum<kThreads>(squares) / static_cast<float>(cols) + eps);
  for (int i = threadIdx.x; i < cols; i += kThreads) top = fmaxf(top, fabsf(from[i] * scale * weight[i]));
  top = block_max<kThreads>(top);
  const float inverse = e4m3_inverse_scale(top);
  for (int i = threadIdx.x; i < cols; i += kThreads)
    row[i] = static_cast<uint8_t>(to_e4m3(from[i] * scale * weight[i] * inverse, 0, 0, 0));
  const int blocks = (cols + static_cast<int>(kE4m3Block) - 1) / static_cast<int>(kE4m3Block);
  for (int block = threadIdx.x; block < blocks; block += kThreads)
    row[e4m3_exponents_begin(cols) + block] = static_cast<uint8_t>(isnan(inverse) ? 0 : e4m3_exponent(top));
}

void rms_norm_e4m3(Matrix x, const float* weight, float eps, Matrix out, cudaStream_t stream) {
  const int cols = static_cast<int>(x.cols);
  const auto launch = [&](auto kernel) {
    kernel<<<static_cast<unsigned>(x.rows), kThreads, 0, stream>>>(x.f32(), x.stride, weight, eps, cols,
                                                                   static_cast<uint8_t*>(out.data), out.stride);
  };
  const int packs = (cols / 4 + kThreads - 1) / kThreads;
  const bool packed = cols % 4 == 0 && aligned_to(x, 16);
  if (packed && packs <= 2) {
    launch(rms_norm_row_e4m3<2>);
  } else if (packed && packs <= 5) {
    launch(rms_norm_row_e4m3<5>);
  } else if (packed && packs <= 8) {
    launch(rms_norm_row_e4m3<8>);
  } else {
    launch(rms_norm_any_e4m3);
  }
  check_launch("rms_norm to e4m3");
}

/// Any width and alignment: reads the row twice.
template <typename E>
__global__ __launch_bounds__(kThreads) void rms_norm_any(const float* x, int64_t x_stride, const float* weight,
                                                         float eps, int cols, E* out, int64_t out_stride) {
  const float* from = x + blockIdx.x * x_stride;
  float squares = 0;
  for (int i = threadIdx.x; i < cols; i += kThreads) squares += from[i] * from[i];
  const float scale = 1.0f / sqrtf(block_sum<kThreads>(squares) / static_cast<float>(cols) + eps);
  for (int i = threadIdx.x; i < cols; i += kThreads)
    out[blockIdx.x * out_stride + i] = from_f32<E>(from[i] * scale * weight[i]);
}

}  // namespace

void rms_norm(Matrix x, const float* weight, float eps, Matrix out, cudaStream_t stream) {
  if (x.rows == 0) return;
  if (out.dtype == DType::kE4m3) return rms_norm_e4m3(x, weight, eps, out, stream);
  const unsigned rows = static_cast<unsigned>(x.rows);
  const int cols = static_cast<int>(x.cols);
  const bool packed = cols % 4 == 0 && aligned_to(x, 16) && aligned_to(out, 16);
  with_type(out.dtype, [&](auto e) {
    using E = decltype(e);
    E* to = static_cast<E*>(out.data);
    const auto launch = [&](auto kernel) {
      kernel<<<rows, kThreads, 0, stream>>>(x.f32(), x.stride, weight, eps, cols, to, out.stride);
    };
    const int packs = (cols / 4 + kThreads - 1) / kThreads;
    if (packed && packs <= 2) {
      launch(rms_norm_row<E, 2>);
    } else if (packed && packs <= 5) {
      launch(rms_norm_row<E, 5>);
    } else if (packed && packs <= 8) {
      launch(rms_norm_row<E, 8>);
    } else {
      launch(rms_norm_any<E>);
    }
  });
  check_launch("rms_norm");
}

}  // namespace quern::cuda
