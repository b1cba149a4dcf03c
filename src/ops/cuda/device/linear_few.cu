// x W^T for a few rows of bf16 or f16, at most 32: a stream of the weight, each value read once and used where it
// arrives.
//
// A block takes 16 outputs (32 where there are enough) and its warps share their columns, 32 at a time; a lane reads 16
// bytes of a row and multiplies them as they lie (mma.m16n8k16, the columns in an order of our own, the same for x).
// The warps' sums are added in a fixed order, so a row's result does not depend on the others. The first loads of the
// weight do not wait for the kernel before.
#include <type_traits>

#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = 16;     // of the weight, for one product of the matrix units
constexpr int kColumns = 32;  // of a chunk

template <typename E>
struct Args {
  const E* x;
  const E* w;
  void* out;
  int64_t x_stride, out_stride;
  int32_t rows, depth;   // M, C
  int64_t second_begin;  // what the second 16 rows of the weight lie behind the first
};

__device__ uint4 load_once(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

#define QUERN_MMA_16x8x16(FORMAT)                                                     \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." FORMAT "." FORMAT             \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                       \
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1))

template <typename E>
__device__ void mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<E, __half>) {
    QUERN_MMA_16x8x16("f16");
  } else {
    QUERN_MMA_16x8x16("bf16");
  }
}

/// kTiles: how often 16 rows of the weight; kTokens: how often 8 rows of x.
template <typename E, ProductEnd kEnd, int kTiles, int kTokens>
__global__ __launch_bounds__(kThreads, 2) void product_of_few(const Args<E> a) {
  constexpr int kAhead = kTokens > 2 ? 2 : 4;  // chunks in flight
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int chunks = a.depth / kColumns;
  const bool gated = kEnd == ProductEnd::kSwiglu;
  const int first_row = blockIdx.x * kRows * (gated ? 1 : kTiles);
  const E* w = a.w + (first_row + lane / 4) * int64_t{a.depth} + lane % 4 * 8;
  const E* x = a.x + lane / 4 * a.x_stride + lane % 4 * 8;

  uint4 rows[kAhead][kTiles][2];
  const auto load_rows = [&](int chunk) {
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      if (chunk + n * kWarps >= chunks) break;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const E* from = w + tile * a.second_begin + (chunk + n * kWarps) * kColumns;
        rows[n][tile][0] = load_once(from);
        rows[n][tile][1] = load_once(from + int64_t{8} * a.depth);
      }
    }
  };
  let_next_start();
  load_rows(warp);
  wait_for_previous();

  float sums[kTiles][kTokens][4] = {};
  for (int chunk = warp; chunk < chunks; chunk += kWarps * kAhead) {
    if (chunk != warp) load_rows(chunk);
    uint4 tokens[kAhead][kTokens];
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      if (chunk + n * kWarps >= chunks) break;
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        const bool exists = lane / 4 + 8 * t < a.rows;
        tokens[n][t] = exists
                           ? *reinterpret_cast<const uint4*>(x + 8 * t * a.x_stride + (chunk + n * kWarps) * kColumns)
                           : make_uint4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      if (chunk + n * kWarps >= chunks) break;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint4 low = rows[n][tile][0], high = rows[n][tile][1];
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          mma<E>(sums[tile][t], low.x, high.x, low.y, high.y, tokens[n][t].x, tokens[n][t].y);
          mma<E>(sums[tile][t], low.z, high.z, low.w, high.w, tokens[n][t].z, tokens[n][t].w);
        }
      }
    }
  }

  __shared__ float shared[kWarps][kTiles][kTokens * 8][kRows + 1];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        shared[warp][tile][8 * t + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sums[tile][t][i];
    }
  }
  __syncthreads();
  constexpr int kOutputs = kEnd == ProductEnd::kSwiglu ? kRows : kTiles * kRows;
  for (int index = threadIdx.x; index < kOutputs * a.rows; index += kThreads) {
    const int token = index / kOutputs;
    const int output = index % kOutputs;
    const auto total = [&](int tile) {
      float sum = 0;
#pragma unroll
      for (int from = 0; from < kWarps; ++from) sum += shared[from][tile][token][output % kRows];
      return sum;
    };
    const int64_t at = token * a.out_stride + first_row + output;
    if constexpr (kEnd == ProductEnd::kAdd) {
      static_cast<float*>(a.out)[at] += total(output / kRows);
    } else if constexpr (kEnd == ProductEnd::kStore) {
      static_cast<E*>(a.out)[at] = from_f32<E>(total(output / kRows));
    } else {
      const float gate = total(0);
      static_cast<E*>(a.out)[at] = from_f32<E>(gate / (1.0f + __expf(-gate)) * total(1));
    }
  }
}

template <typename E, ProductEnd kEnd, int kTiles>
void launch(const Args<E>& args, int blocks, cudaStream_t stream) {
  const auto kernel = args.rows <= 8    ? product_of_few<E, kEnd, kTiles, 1>
                      : args.rows <= 16 ? product_of_few<E, kEnd, kTiles, 2>
                                        : product_of_few<E, kEnd, kTiles, 4>;
  launch_early(kernel, blocks, kThreads, stream, args);
}

template <typename E>
void run(ProductEnd end, Matrix x, const void* weight, Matrix out, cudaStream_t stream) {
  constexpr int64_t kBlocksEnough = 128;
  Args<E> args{static_cast<const E*>(x.data), static_cast<const E*>(weight), out.data,      x.stride, out.stride,
               static_cast<int32_t>(x.rows),  static_cast<int32_t>(x.cols),  kRows * x.cols};
  const int tiles = static_cast<int>(out.cols / kRows);
  const bool two = tiles % 2 == 0 && tiles / 2 >= kBlocksEnough;
  if (end == ProductEnd::kSwiglu) {
    args.second_begin = out.cols * x.cols;  // the up projection
    launch<E, ProductEnd::kSwiglu, 2>(args, tiles, stream);
  } else if (end == ProductEnd::kAdd) {
    two ? launch<E, ProductEnd::kAdd, 2>(args, tiles / 2, stream) : launch<E, ProductEnd::kAdd, 1>(args, tiles, stream);
  } else {
    two ? launch<E, ProductEnd::kStore, 2>(args, tiles / 2, stream)
        : launch<E, ProductEnd::kStore, 1>(args, tiles, stream);
  }
}

}  // namespace

bool linear_few_takes(const Matrix& x, const Matrix& out) {
  return dtype_bytes(x.dtype) == 2 && x.rows <= 32 && x.cols % kColumns == 0 && out.cols % kRows == 0 &&
         aligned_to(x, 16);
}

void linear_few(ProductEnd end, Matrix x, const void* weight, Matrix out, cudaStream_t stream) {
  x.dtype == DType::kF16 ? run<__half>(end, x, weight, out, stream) : run<__nv_bfloat16>(end, x, weight, out, stream);
}

}  // namespace quern::cuda
