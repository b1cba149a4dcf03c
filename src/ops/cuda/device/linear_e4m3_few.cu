// x W^T of e4m3 for at most 32 rows: a stream of the weight, each value read once and used where it arrives, in the
// manner of linear_few.cu.
//
// A block takes 16 outputs (32 where there are enough) and its warps share their columns, 64 at a time; a lane reads 16
// bytes of a row and multiplies them as f16, which holds every e4m3 (mma.m16n8k16, the columns in an order of our own,
// the same for x), so that a weight is converted once for all rows. 64 columns lie in one block of exponents: their sum
// is brought to f32's scale before it is added.
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = 16;     // of the weight, for one product of the matrix units
constexpr int kColumns = 64;  // of a chunk

struct Args {
  const uint8_t* x;
  const uint8_t* w;
  const float* scales;
  void* out;
  int64_t x_stride, out_stride;
  int32_t rows, depth;   // M, C
  int32_t second_begin;  // the second 16 rows of the weight, behind the first
};

__device__ uint4 load_once(const uint8_t* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

/// Values 2 * half and the next of four: f16 holds every e4m3.
__device__ uint32_t to_f16(uint32_t word, int half) {
  const auto codes = static_cast<__nv_fp8x2_storage_t>(half == 0 ? word : word >> 16);
  const __half2_raw pair = __nv_cvt_fp8x2_to_halfraw2(codes, __NV_E4M3);
  return static_cast<uint32_t>(pair.x) | static_cast<uint32_t>(pair.y) << 16;
}

__device__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ uint32_t word_of(const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

/// kTiles: how often 16 rows of the weight; kTokens: how often 8 rows of x.
template <ProductEnd kEnd, int kTiles, int kTokens>
__global__ __launch_bounds__(kThreads, kTokens > 2 ? 1 : 2) void product_of_few(const Args a) {
  constexpr int kAhead = kTokens * kTiles > 2 ? 2 : 4;  // chunks in flight
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int chunks = a.depth / kColumns;
  const bool gated = kEnd == ProductEnd::kSwiglu;
  const int first_row = blockIdx.x * kRows * (gated ? 1 : kTiles);
  const uint8_t* w = a.w + (first_row + lane / 4) * int64_t{a.depth} + lane % 4 * 16;
  const uint8_t* x = a.x + lane / 4 * a.x_stride + lane % 4 * 16;
  const uint8_t* exponents = a.x + e4m3_exponents_begin(a.depth) + lane % 4 * 2 * a.x_stride;

  uint4 rows[kAhead][kTiles][2];
  const auto load_rows = [&](int chunk) {
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      if (chunk + n * kWarps >= chunks) break;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint8_t* from = w + tile * int64_t{a.second_begin} * a.depth + (chunk + n * kWarps) * kColumns;
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
    float units[kAhead][kTokens][2];
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      const int at = chunk + n * kWarps;
      if (at >= chunks) break;
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        tokens[n][t] = lane / 4 + 8 * t < a.rows
                           ? *reinterpret_cast<const uint4*>(x + 8 * t * a.x_stride + at * kColumns)
                           : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int i = 0; i < 2; ++i) {  // of the two rows whose sums this lane has
          const bool exists = lane % 4 * 2 + i + 8 * t < a.rows;
          units[n][t][i] =
              exists
                  ? power_of_2(static_cast<int8_t>(exponents[(8 * t + i) * a.x_stride + at / (kE4m3Block / kColumns)]))
                  : 0;
        }
      }
    }
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      if (chunk + n * kWarps >= chunks) break;
      float parts[kTiles][kTokens][4] = {};
#pragma unroll
      for (int word = 0; word < 4; ++word) {
        uint32_t columns[kTokens][2];
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          columns[t][0] = to_f16(word_of(tokens[n][t], word), 0);
          columns[t][1] = to_f16(word_of(tokens[n][t], word), 1);
        }
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          const uint32_t low = word_of(rows[n][tile][0], word), high = word_of(rows[n][tile][1], word);
          const uint32_t weights[4] = {to_f16(low, 0), to_f16(high, 0), to_f16(low, 1), to_f16(high, 1)};
#pragma unroll
          for (int t = 0; t < kTokens; ++t) mma(parts[tile][t], weights, columns[t]);
        }
      }
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[tile][t][i] += parts[tile][t][i] * units[n][t][i % 2];
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
      return sum * a.scales[first_row + tile * a.second_begin + output % kRows];
    };
    const int64_t at = token * a.out_stride + first_row + output;
    if constexpr (kEnd == ProductEnd::kAdd) {
      static_cast<float*>(a.out)[at] += total(output / kRows);
    } else if constexpr (kEnd == ProductEnd::kStore) {
      static_cast<__nv_bfloat16*>(a.out)[at] = __float2bfloat16_rn(total(output / kRows));
    } else {
      const float gate = total(0);
      static_cast<float*>(a.out)[at] = gate / (1.0f + __expf(-gate)) * total(1);
    }
  }
}

template <ProductEnd kEnd, int kTiles>
void launch(const Args& args, int blocks, cudaStream_t stream) {
  const auto kernel = args.rows <= 8    ? product_of_few<kEnd, kTiles, 1>
                      : args.rows <= 16 ? product_of_few<kEnd, kTiles, 2>
                                        : product_of_few<kEnd, kTiles, 4>;
  launch_early(kernel, blocks, kThreads, stream, args);
}

}  // namespace

bool linear_e4m3_few_takes(const Matrix& x, const Matrix& out) {
  return x.rows <= 32 && x.cols % kColumns == 0 && out.cols % kRows == 0 && aligned_to(x, 16);
}

void linear_e4m3_few(ProductEnd end, Matrix x, const E4m3Weight& weight, Matrix out, cudaStream_t stream) {
  constexpr int64_t kBlocksEnough = 128;
  Args args{static_cast<const uint8_t*>(x.data),
            static_cast<const uint8_t*>(weight.values),
            weight.scales,
            out.data,
            x.stride,
            out.stride,
            static_cast<int32_t>(x.rows),
            static_cast<int32_t>(x.cols),
            kRows};
  const int tiles = static_cast<int>(out.cols / kRows);
  const bool two = tiles % 2 == 0 && tiles / 2 >= kBlocksEnough;
  if (end == ProductEnd::kSwiglu) {
    args.second_begin = static_cast<int32_t>(out.cols);  // the up projection
    launch<ProductEnd::kSwiglu, 2>(args, tiles, stream);
  } else if (end == ProductEnd::kAdd) {
    two ? launch<ProductEnd::kAdd, 2>(args, tiles / 2, stream) : launch<ProductEnd::kAdd, 1>(args, tiles, stream);
  } else {
    two ? launch<ProductEnd::kStore, 2>(args, tiles / 2, stream) : launch<ProductEnd::kStore, 1>(args, tiles, stream);
  }
}

}  // namespace quern::cuda
