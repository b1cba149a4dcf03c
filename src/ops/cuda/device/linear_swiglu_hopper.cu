// out [M, F] = silu(x Wgate^T) * (x Wup^T) in one kernel for bf16 and f16 on Hopper, so that the two products, 4 F
// bytes a row, never leave the registers.
//
// A pair of blocks stays and takes tiles of 256 rows and 128 outputs, each block half of the rows. One thread of each
// copies: its own rows of x, and one of the two weights for both blocks. Two warpgroups multiply, each 64 rows by 128
// columns of the gate and the same 128 of the up projection, which so meet in one thread. The order of a row's sum is
// that of its columns, whatever M.
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/hopper.cuh"
#include "ops/cuda/device/kernels.h"
#include "ops/cuda/device/tensor_map.h"

namespace quern::cuda {
namespace {

constexpr int kRows = 128;     // of x, a block
constexpr int kOutputs = 128;  // and so 256 columns of the product
constexpr int kDepth = 64;     // columns of x in a stage: 128 bytes, the width of the swizzle
constexpr int kStages = 4;
constexpr int kGroupThreads = 128;
constexpr int kMultipliers = 2;
constexpr int kThreads = (1 + kMultipliers) * kGroupThreads;
[[maybe_unused]] constexpr int kTilesTogether = 8;  // row tiles (of 256) whose x stays in L2 while all of W passes
[[maybe_unused]] constexpr uint32_t kStageBytes = (kRows + 2 * kOutputs) * kDepth * 2;

struct Shared {  // values of two bytes
  uint16_t x[kStages][kRows * kDepth];
  uint16_t w[kStages][2 * kOutputs * kDepth];  // gate, then up
  uint64_t full[kStages], empty[kStages];
};
constexpr size_t kSharedBytes = sizeof(Shared) + 1024;  // the swizzle's atoms begin at a multiple of 1024

struct Args {
  void* out;
  int64_t out_stride;
  int32_t rows, outputs, depth;  // M, F, C
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// The tile that a pair takes as its `index`-th: its first row and output.
struct Tile {
  int row, output;

  __device__ static int count(const Args& a) {
    return ((a.rows + 2 * kRows - 1) / (2 * kRows)) * ((a.outputs + kOutputs - 1) / kOutputs);
  }
  __device__ static Tile at(const Args& a, int index) {
    const int row_tiles = (a.rows + 2 * kRows - 1) / (2 * kRows);
    const int output_tiles = (a.outputs + kOutputs - 1) / kOutputs;
    const int first = index / (kTilesTogether * output_tiles) * kTilesTogether;
    const int together = min(kTilesTogether, row_tiles - first);
    const int rest = index - first * output_tiles;
    return {(first + rest % together) * 2 * kRows, rest / together * kOutputs};
  }
};

__device__ void fetch(const Args& a, const CUtensorMap& x, const CUtensorMap& w, Shared& shared, int rank) {
  const int pairs = gridDim.x / 2;
  const int tiles = Tile::count(a);
  Turn<kStages> turn;
  for (int index = blockIdx.x / 2; index < tiles; index += pairs) {
    const Tile tile = Tile::at(a, index);
    const int w_row = tile.output + rank * a.outputs;  // rank 0 brings the gate, rank 1 the up projection
    for (int column = 0; column < a.depth; column += kDepth, turn.advance()) {
      const int s = turn.stage;
      barrier_wait(&shared.empty[s], turn.parity ^ 1);
      barrier_expect(&shared.full[s], kStageBytes);
      box_copy(shared.x[s], x, column, tile.row + rank * kRows, &shared.full[s]);
      box_copy_to_pair(shared.w[s] + rank * kOutputs * kDepth, w, column, w_row, &shared.full[s]);
    }
  }
}

__device__ float gated(float gate, float up) { return __fdividef(gate, 1.0f + __expf(-gate)) * up; }

/// silu(gate) * up of this warpgroup's 64 rows, 16 bytes a lane.
template <typename E>
__device__ void store(const Args& a, const float (&sums)[128], int first_row, int first_output) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + threadIdx.x % kGroupThreads / kWarp * 16 + lane / 4 + 8 * r;
    E* to = static_cast<E*>(a.out) + row * a.out_stride;
#pragma unroll
    for (int chunk = 0; chunk < kOutputs / 8; chunk += 4) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 4 * (chunk + i) + 2 * r;
        words[i] = packed<E>(gated(sums[at], sums[64 + at]), gated(sums[at + 1], sums[64 + at + 1]));
      }
      transpose_4_lanes(words);
      const int output = first_output + (chunk + lane % 4) * 8;
      if (row < a.rows && output < a.outputs)
        *reinterpret_cast<uint4*>(to + output) = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
}

template <typename E>
__device__ void multiply(const Args& a, Shared& shared, int which) {
  const int pairs = gridDim.x / 2;
  const int tiles = Tile::count(a);
  const int rank = static_cast<int>(rank_in_pair());
  const auto release = [&](int stage) {
    if (threadIdx.x % kWarp < 2) barrier_arrive_at(&shared.empty[stage], threadIdx.x % kWarp);
  };
  Turn<kStages> turn;
  for (int index = blockIdx.x / 2; index < tiles; index += pairs) {
    const Tile tile = Tile::at(a, index);
    float sums[128];
    int previous = 0;
    for (int column = 0; column < a.depth; column += kDepth) {
      const int s = turn.stage;
      barrier_wait(&shared.full[s], turn.parity);
      keep_order(sums);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kDepth / 16; ++step) {
        wgmma_64x256x16<E>(sums, matrix_of(shared.x[s] + which * 64 * kDepth + step * 16, 16, 1024),
                           matrix_of(shared.w[s] + step * 16, 16, 1024), column > 0 || step > 0);
      }
      wgmma_commit();
      keep_order(sums);
      if (column > 0) {  // the stage before has been read
        wgmma_wait<1>();
        release(previous);
      }
      previous = s;
      turn.advance();
    }
    wgmma_wait<0>();
    keep_order(sums);
    release(previous);
    store<E>(a, sums, tile.row + rank * kRows + which * 64, tile.output);
  }
}

#endif

template <typename E>
__global__ __launch_bounds__(kThreads, 1) void swiglu_product(const __grid_constant__ Args a,
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
    multiply<E>(a, shared, __shfl_sync(0xffffffffu, threadIdx.x / kGroupThreads, 0) - 1);
  }
  pair_sync();  // neither leaves while the other copies into it
#endif
}

}  // namespace

bool linear_swiglu_hopper_takes(const Matrix& x, const Matrix& out, int groups) {
  const int64_t tiles = (x.rows + 2 * kRows - 1) / (2 * kRows) * ((out.cols + kOutputs - 1) / kOutputs);
  const int64_t pairs = groups / 2;
  const int64_t rounds = (tiles + pairs - 1) / pairs;
  // Else the last round would leave too much of the device idle.
  return 10 * tiles >= 9 * rounds * pairs && dtype_bytes(x.dtype) == 2 && x.cols % 8 == 0 && out.cols % 8 == 0 &&
         aligned_to(x, 16) && aligned_to(out, 16);
}

void linear_swiglu_hopper(Matrix x, const void* gate_up, int groups, Matrix out, cudaStream_t stream) {
  const CUtensorMap x_map = tensor_map(x.data, 2, x.rows, x.cols, x.stride, kRows);
  const CUtensorMap w_map = tensor_map(gate_up, 2, 2 * out.cols, x.cols, x.cols, kOutputs);
  const Args args{out.data, out.stride, static_cast<int32_t>(x.rows), static_cast<int32_t>(out.cols),
                  static_cast<int32_t>(x.cols)};
  const auto kernel = x.dtype == DType::kF16 ? swiglu_product<__half> : swiglu_product<__nv_bfloat16>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kSharedBytes)),
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
  check(cudaLaunchKernelEx(&config, kernel, args, x_map, w_map), "linear_swiglu_hopper");
}

}  // namespace quern::cuda
