// The products of e4m3 on Hopper: out = x W^T, out += x W^T, or out = silu(x Wgate^T) * (x Wup^T) as e4m3 again, each
// in one kernel, so that what is between leaves the registers once and as small as it becomes.
//
// A pair of blocks stays and takes tiles of 256 rows and 256 columns of the product, each block half of the rows; for
// SwiGLU the columns are 128 of the gate and the same 128 of the up projection, which so meet in one thread. One thread
// of each block copies: its own rows of x, and one half of the weight's rows for both blocks. Two warpgroups multiply,
// each 64 rows by 256 columns, a block of x's columns (and so of its exponents) a stage. The sums are in units of the
// last block's exponent: where a row's changes, they are brought to the new one. The order of a row's sum is that of
// its columns, whatever M.
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/e4m3.cuh"
#include "ops/cuda/device/hopper.cuh"
#include "ops/cuda/device/kernels.h"
#include "ops/cuda/device/tensor_map.h"

namespace quern::cuda {
namespace {

constexpr int kRows = 128;         // of x, a block
constexpr int kHalfColumns = 128;  // of the product
constexpr int kDepth = 128;        // columns of x in a stage: 128 bytes, the width of the swizzle, a block of exponents
constexpr int kStages = 4;
constexpr int kGroupThreads = 128;
constexpr int kMultipliers = 2;
constexpr int kThreads = (1 + kMultipliers) * kGroupThreads;
[[maybe_unused]] constexpr int kTilesTogether = 8;  // row tiles (of 256) whose x stays in L2 while all of W passes
[[maybe_unused]] constexpr uint32_t kStageBytes = (kRows + 2 * kHalfColumns) * kDepth;
static_assert(kDepth == kE4m3Block);

struct Shared {
  uint8_t x[kStages][kRows * kDepth];
  uint8_t w[kStages][2 * kHalfColumns * kDepth];
  uint64_t full[kStages], empty[kStages];
};
constexpr size_t kSharedBytes = sizeof(Shared) + 1024;  // the swizzle's atoms begin at a multiple of 1024

struct Args {
  const uint8_t* x;  // for its exponents
  int64_t x_stride;
  const float* scales;  // of the weight's rows
  void* out;
  int64_t out_stride;
  int32_t rows, outputs, depth;  // M, N (F), C
  int32_t tile_outputs;          // of a tile
  int32_t second_begin;          // the second half's first row of the weight, behind the first half's
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// The tile that a pair takes as its `index`-th: its first row and output.
struct Tile {
  int row, output;

  __device__ static int count(const Args& a) {
    return ((a.rows + 2 * kRows - 1) / (2 * kRows)) * ((a.outputs + a.tile_outputs - 1) / a.tile_outputs);
  }
  __device__ static Tile at(const Args& a, int index) {
    const int row_tiles = (a.rows + 2 * kRows - 1) / (2 * kRows);
    const int output_tiles = (a.outputs + a.tile_outputs - 1) / a.tile_outputs;
    const int first = index / (kTilesTogether * output_tiles) * kTilesTogether;
    const int together = min(kTilesTogether, row_tiles - first);
    const int rest = index - first * output_tiles;
    return {(first + rest % together) * 2 * kRows, rest / together * a.tile_outputs};
  }
};

__device__ void fetch(const Args& a, const CUtensorMap& x, const CUtensorMap& w, Shared& shared, int rank) {
  const int pairs = gridDim.x / 2;
  const int tiles = Tile::count(a);
  Turn<kStages> turn;
  for (int index = blockIdx.x / 2; index < tiles; index += pairs) {
    const Tile tile = Tile::at(a, index);
    const int w_row = tile.output + rank * a.second_begin;
    for (int column = 0; column < a.depth; column += kDepth, turn.advance()) {
      const int s = turn.stage;
      barrier_wait(&shared.empty[s], turn.parity ^ 1);
      barrier_expect(&shared.full[s], kStageBytes);
      box_copy(shared.x[s], x, column, tile.row + rank * kRows, &shared.full[s]);
      box_copy_to_pair(shared.w[s] + rank * kHalfColumns * kDepth, w, column, w_row, &shared.full[s]);
    }
  }
}

/// The exponents of a thread's two rows, four blocks at a time.
struct Exponents {
  const uint8_t* rows[2];
  uint32_t words[2];

  __device__ Exponents(const Args& a, int first_row) {
#pragma unroll
    for (int r = 0; r < 2; ++r) rows[r] = a.x + min(first_row + 8 * r, a.rows - 1) * a.x_stride + a.depth;
    fetch(0);
  }
  __device__ void fetch(int block) {
#pragma unroll
    for (int r = 0; r < 2; ++r) words[r] = *reinterpret_cast<const uint32_t*>(rows[r] + block);
  }
  __device__ static int of(uint32_t word, int block) { return static_cast<int8_t>(word >> (block % 4 * 8)); }
};

__device__ float gated(float gate, float up) { return __fdividef(gate, 1.0f + __expf(-gate)) * up; }

/// The product's two neighbouring columns from `column` on have these scales.
__device__ float2 scales_at(const Args& a, int column, int behind) {
  if (column >= a.outputs) return make_float2(0, 0);
  return *reinterpret_cast<const float2*>(a.scales + column + behind);
}

__device__ void add_four(float* to, float2 a, float2 b) {
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(a.x), "f"(a.y), "f"(b.x), "f"(b.y)
               : "memory");
}
__device__ float2 from_neighbour(float2 value) {
  return make_float2(__shfl_xor_sync(0xffffffffu, value.x, 1), __shfl_xor_sync(0xffffffffu, value.y, 1));
}

/// The product itself, or SwiGLU of its halves.
template <ProductEnd kEnd>
__device__ void scale_and_store(const Args& a, float (&sums)[128], int row, int first_output, const float (&units)[2]) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int column = i % 16 * 8 + lane % 4 * 2;
    const float2 scale = scales_at(a, first_output + column + (kEnd == ProductEnd::kSwiglu ? 0 : i / 16 * 128),
                                   kEnd == ProductEnd::kSwiglu ? i / 16 * a.second_begin : 0);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sums[4 * i + 2 * r] *= units[r] * scale.x;
      sums[4 * i + 2 * r + 1] *= units[r] * scale.y;
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const bool exists = row + 8 * r < a.rows;
    if constexpr (kEnd == ProductEnd::kSwiglu) {
      uint8_t* to = static_cast<uint8_t*>(a.out) + (row + 8 * r) * a.out_stride;
      float values[32];
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const int at = i / 2 * 4 + 2 * r + i % 2;
        values[i] = gated(sums[at], sums[64 + at]);
      }
      store_block(to, a.outputs, first_output / 128, exists, [&](int i) { return values[i]; });
    } else {
      __nv_bfloat16* to = static_cast<__nv_bfloat16*>(a.out) + (row + 8 * r) * a.out_stride;
#pragma unroll
      for (int chunk = 0; chunk < 32; chunk += 4) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
          words[i] = packed<__nv_bfloat16>(sums[4 * (chunk + i) + 2 * r], sums[4 * (chunk + i) + 2 * r + 1]);
        transpose_4_lanes(words);
        const int output = first_output + (chunk + lane % 4) * 8;
        if (exists && output < a.outputs)
          *reinterpret_cast<uint4*>(to + output) = make_uint4(words[0], words[1], words[2], words[3]);
      }
    }
  }
}

/// What becomes of this warpgroup's 64 rows; `units` is what the sums of the thread's two rows are in.
template <ProductEnd kEnd>
__device__ void store(const Args& a, float (&sums)[128], int first_row, int first_output, const float (&units)[2]) {
  const int lane = threadIdx.x % kWarp;
  const int row = first_row + threadIdx.x % kGroupThreads / kWarp * 16 + lane / 4;
  if constexpr (kEnd == ProductEnd::kAdd) {
    // Two lanes exchange, so that the even one adds four columns of the first row, the odd one of the second.
    const bool second = lane % 2 != 0;
    const int my_row = row + (second ? 8 : 0);
    const bool exists = my_row < a.rows;
    float* to = static_cast<float*>(a.out) + my_row * a.out_stride + first_output + lane % 4 / 2 * 4;
    const float* scales = a.scales + first_output + lane % 4 * 2;
    const int chunks = min(32, (a.outputs - first_output) / 8);  // the same for the whole warp
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      if (i >= chunks) break;
      const float2 scale = *reinterpret_cast<const float2*>(scales + i * 8);
      const float2 of_first = make_float2(sums[4 * i] * (units[0] * scale.x), sums[4 * i + 1] * (units[0] * scale.y));
      const float2 of_second =
          make_float2(sums[4 * i + 2] * (units[1] * scale.x), sums[4 * i + 3] * (units[1] * scale.y));
      const float2 other = from_neighbour(second ? of_first : of_second);
      if (exists) add_four(to + i * 8, second ? other : of_first, second ? of_second : other);
    }
  } else {
    scale_and_store<kEnd>(a, sums, row, first_output, units);
  }
}

template <ProductEnd kEnd>
__device__ void multiply(const Args& a, Shared& shared, int which) {
  const int pairs = gridDim.x / 2;
  const int tiles = Tile::count(a);
  const int blocks = a.depth / kDepth;
  const int rank = static_cast<int>(rank_in_pair());
  const auto release = [&](int stage) {
    if (threadIdx.x % kWarp < 2) barrier_arrive_at(&shared.empty[stage], threadIdx.x % kWarp);
  };
  Turn<kStages> turn;
  for (int index = blockIdx.x / 2; index < tiles; index += pairs) {
    const Tile tile = Tile::at(a, index);
    const int first_row = tile.row + rank * kRows + which * 64;
    Exponents ahead(a, first_row + threadIdx.x % kGroupThreads / kWarp * 16 + threadIdx.x % kWarp / 4);
    uint32_t words[2] = {};
    int units[2] = {};
    float sums[128];
    int previous = 0;
    for (int block = 0; block < blocks; ++block) {
      if (block % 4 == 0) {
        words[0] = ahead.words[0];
        words[1] = ahead.words[1];
        if (block + 4 < blocks) ahead.fetch(block + 4);
      }
      const int now[2] = {Exponents::of(words[0], block), Exponents::of(words[1], block)};
      if (block > 0 && __any_sync(0xffffffffu, now[0] != units[0] || now[1] != units[1])) {
        wgmma_wait<0>();
        keep_order(sums);
        const float by[2] = {power_of_2(units[0] - now[0]), power_of_2(units[1] - now[1])};
#pragma unroll
        for (int i = 0; i < 128; ++i) sums[i] *= by[i / 2 % 2];
      }
      units[0] = now[0];
      units[1] = now[1];
      const int s = turn.stage;
      barrier_wait(&shared.full[s], turn.parity);
      keep_order(sums);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kDepth / 32; ++step) {
        wgmma_64x256x32_e4m3(sums, matrix_of(shared.x[s] + which * 64 * kDepth + step * 32, 16, 1024),
                             matrix_of(shared.w[s] + step * 32, 16, 1024), block > 0 || step > 0);
      }
      wgmma_commit();
      keep_order(sums);
      if (block > 0) {  // the stage before has been read
        wgmma_wait<1>();
        release(previous);
      }
      previous = s;
      turn.advance();
    }
    wgmma_wait<0>();
    keep_order(sums);
    release(previous);
    const float scales[2] = {power_of_2(units[0]), power_of_2(units[1])};
    store<kEnd>(a, sums, first_row, tile.output, scales);
  }
}

#endif

template <ProductEnd kEnd>
__global__ __launch_bounds__(kThreads, 1) void product(const __grid_constant__ Args a,
                                                       const __grid_constant__ CUtensorMap x,
                                                       const __grid_constant__ CUtensorMap w) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char memory[];
  Shared& shared = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(memory) + 1023) / 1024 * 1024);
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(&shared.full[s], 1);
      barrier_init(&shared.empty[s], 2 * kMultipliers * kGroupThreads / kWarp);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  pair_sync();
  if (threadIdx.x < kGroupThreads) {
    fewer_registers<40>();
    if (threadIdx.x == 0) fetch(a, x, w, shared, static_cast<int>(rank_in_pair()));
    __syncwarp();
  } else {
    more_registers<232>();
    multiply<kEnd>(a, shared, __shfl_sync(0xffffffffu, threadIdx.x / kGroupThreads, 0) - 1);
  }
  pair_sync();  // neither leaves while the other copies into it
#endif
}

template <ProductEnd kEnd>
void launch(const Args& args, const CUtensorMap& x, const CUtensorMap& w, int groups, cudaStream_t stream) {
  check(
      cudaFuncSetAttribute(product<kEnd>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kSharedBytes)),
      "shared memory for a product");
  cudaLaunchAttribute pair{};
  pair.id = cudaLaunchAttributeClusterDimension;
  pair.val.clusterDim.x = 2;
  pair.val.clusterDim.y = pair.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(groups / 2 * 2));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kSharedBytes;
  config.stream = stream;
  config.attrs = &pair;
  config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, product<kEnd>, args, x, w), "linear_e4m3_hopper");
}

}  // namespace

bool linear_e4m3_hopper_takes(const Matrix& x, const Matrix& out) {
  const bool block_outputs = out.dtype != DType::kE4m3 || out.cols % kE4m3Block == 0;
  return x.cols % kDepth == 0 && out.cols % 8 == 0 && block_outputs && aligned_to(x, 16) && aligned_to(out, 16);
}

void linear_e4m3_hopper(ProductEnd end, Matrix x, const E4m3Weight& weight, int groups, Matrix out,
                        cudaStream_t stream) {
  const bool swiglu = end == ProductEnd::kSwiglu;
  const CUtensorMap x_map = tensor_map(x.data, 1, x.rows, x.cols, x.stride, kRows);
  const CUtensorMap w_map = tensor_map(weight.values, 1, (swiglu ? 2 : 1) * out.cols, x.cols, x.cols, kHalfColumns);
  const Args args{static_cast<const uint8_t*>(x.data),
                  x.stride,
                  weight.scales,
                  out.data,
                  out.stride,
                  static_cast<int32_t>(x.rows),
                  static_cast<int32_t>(out.cols),
                  static_cast<int32_t>(x.cols),
                  swiglu ? kHalfColumns : 2 * kHalfColumns,
                  swiglu ? static_cast<int32_t>(out.cols) : kHalfColumns};
  if (swiglu) {
    launch<ProductEnd::kSwiglu>(args, x_map, w_map, groups, stream);
  } else if (end == ProductEnd::kAdd) {
    launch<ProductEnd::kAdd>(args, x_map, w_map, groups, stream);
  } else {
    launch<ProductEnd::kStore>(args, x_map, w_map, groups, stream);
  }
}

}  // namespace quern::cuda
