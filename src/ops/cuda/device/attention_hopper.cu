// Causal attention over pages for bf16 and d = 128 on Hopper, in the manner of FlashAttention-3 (Shah and others 2024).
//
// A block stays and takes tiles from the step's list (those with most keys first), one K/V head at a time. A tile is
// up to 128 rows of one sequence: a row is a token and one of the query heads that share the K/V head, so that K and V
// come once for the whole group. One warp fetches pages, which lie in memory as the matrix units want them, into two
// stages of 128 keys; two warpgroups hold 64 rows each (queries, scores and the mix in registers) and multiply. While
// the product with V of one stage runs, the scores of the next are made.
#include "ops/cuda/device/attention_math.cuh"
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/e4m3.cuh"
#include "ops/cuda/device/hopper.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kGroupThreads = 128;
constexpr int kMultipliers = 2;  // warpgroups
constexpr int kThreads = (1 + kMultipliers) * kGroupThreads;
constexpr int kGroupRows = 64;
[[maybe_unused]] constexpr uint32_t kStageBytes = kKeys * kHeadDim * 2;
static_assert(kMultipliers * kGroupRows == kHopperTileRows);

template <typename E>
struct Shared {
  E k[kStages][kKeys * kHeadDim];
  E v[kStages][kKeys * kHeadDim];
  uint64_t k_full[kStages], v_full[kStages];
  uint64_t k_empty[kStages], v_empty[kStages];
};
constexpr size_t kSharedBytes = sizeof(Shared<__half>) + 1024;  // the atoms must begin at a multiple of 1024

template <typename E>
struct Args {
  const E* q;
  void* out;  // E, or e4m3 rows with their exponents behind q_cols values
  int64_t q_stride, out_stride;
  const E* pages;
  const E* zeros;
  const int32_t* block_ids;
  const AttentionTile* tiles;
  const int32_t* tile_count;
  KvLayout layout;
  int32_t group;  // query heads of a K/V head
  int32_t q_cols;
  float scale_log2;  // log2(e) / sqrt(d)
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// The warp that fetches: each lane a page of the stage.
template <typename E>
__device__ void fetch(const Args<E>& a, Shared<E>& shared) {
  const int lane = threadIdx.x % kWarp;
  const int page_tokens = a.layout.block_tokens;
  const int pages_per_stage = kKeys / page_tokens;
  const uint32_t page_bytes = static_cast<uint32_t>(a.layout.part_elements() * sizeof(E));
  const int work = *a.tile_count * a.layout.heads;
  Turn<kStages> turn;
  for (int w = blockIdx.x; w < work; w += gridDim.x) {
    const AttentionTile tile = a.tiles[w / a.layout.heads];
    const int head = w % a.layout.heads;
    const int last = tile.position_begin + tile.rows - 1;
    for (int key = 0; key <= last; key += kKeys, turn.advance()) {
      const int s = turn.stage;
      const int position = key + lane * page_tokens;
      const E* from = a.zeros;  // what lies behind the end has weight 0, and must be a number
      int64_t to_v = 0;
      if (lane < pages_per_stage && position <= last) {
        from = a.pages + a.layout.head_begin(a.block_ids[tile.table_begin + position / page_tokens], head);
        to_v = a.layout.part_elements();
      }
      barrier_wait(&shared.k_empty[s], turn.parity ^ 1);
      if (lane == 0) barrier_expect(&shared.k_full[s], kStageBytes);
      __syncwarp();
      if (lane < pages_per_stage)
        bulk_copy(shared.k[s] + lane * a.layout.part_elements(), from, page_bytes, &shared.k_full[s]);
      barrier_wait(&shared.v_empty[s], turn.parity ^ 1);
      if (lane == 0) barrier_expect(&shared.v_full[s], kStageBytes);
      __syncwarp();
      if (lane < pages_per_stage)
        bulk_copy(shared.v[s] + lane * a.layout.part_elements(), from + to_v, page_bytes, &shared.v_full[s]);
    }
  }
}

/// A warpgroup's part of a tile, and a thread's two rows of it.
struct Part {
  int stages = 0;
  int first_position = 0;
  int positions[2] = {};
  int64_t rows[2] = {-1, -1};  // of q and out; negative: no such row
  int heads[2] = {};

  template <typename E>
  __device__ Part(const Args<E>& a, int w, int which) {
    const AttentionTile tile = a.tiles[w / a.layout.heads];
    const int head = w % a.layout.heads;
    const int group_tokens = kGroupRows / a.group;
    const int first = which * group_tokens;
    const int tokens = min(max(tile.rows - first, 0), group_tokens);
    first_position = tile.position_begin + first;
    const int last = tile.position_begin + tile.rows - 1;
    stages = last / kKeys + 1;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = threadIdx.x % kGroupThreads / kWarp * 16 + threadIdx.x % kWarp / 4 + 8 * r;
      const int token = row / a.group;
      heads[r] = head * a.group + row % a.group;
      positions[r] = token < tokens ? first_position + token : last;
      if (token < tokens) rows[r] = tile.row_begin + first + token;
    }
  }
};

/// This thread's words of the 64 rows of q, as the matrix units take them: 16 bytes a lane come, and change lanes.
template <typename E>
__device__ void load_queries(const Args<E>& a, const Part& part, uint32_t (&queries)[8][4]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const E* from = a.q + part.rows[r] * a.q_stride + part.heads[r] * kHeadDim + threadIdx.x % 4 * 8;
#pragma unroll
    for (int chunk = 0; chunk < kHeadDim / 8; chunk += 4) {
      const uint4 loaded =
          part.rows[r] >= 0 ? *reinterpret_cast<const uint4*>(from + chunk * 8) : make_uint4(0, 0, 0, 0);
      queries[chunk / 2][r] = loaded.x;
      queries[chunk / 2][2 + r] = loaded.y;
      queries[chunk / 2 + 1][r] = loaded.z;
      queries[chunk / 2 + 1][2 + r] = loaded.w;
    }
  }
}
__device__ void deal_queries(uint32_t (&queries)[8][4]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int step = 0; step < 8; step += 2) {
      uint32_t words[4] = {queries[step][r], queries[step][2 + r], queries[step + 1][r], queries[step + 1][2 + r]};
      transpose_4_lanes(words);
      queries[step][r] = words[0];
      queries[step][2 + r] = words[1];
      queries[step + 1][r] = words[2];
      queries[step + 1][2 + r] = words[3];
    }
  }
}

template <typename E, bool kQuantised>
__device__ void store_mix(const Args<E>& a, const Part& part, const float (&mix)[64], const Softmax& softmax) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float total = softmax.total[r];
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    const float scale = 1.0f / total;
    if constexpr (kQuantised) {
      uint8_t* row = static_cast<uint8_t*>(a.out) + part.rows[r] * a.out_stride;
      store_block(row, a.q_cols, part.heads[r], part.rows[r] >= 0,
                  [&](int i) { return mix[i / 2 * 4 + 2 * r + i % 2] * scale; });
      continue;
    }
    E* to = static_cast<E*>(a.out) + part.rows[r] * a.out_stride + part.heads[r] * kHeadDim + threadIdx.x % 4 * 8;
#pragma unroll
    for (int chunk = 0; chunk < kHeadDim / 8; chunk += 4) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 4 * (chunk + i) + 2 * r;
        words[i] = packed<E>(mix[at] * scale, mix[at + 1] * scale);
      }
      transpose_4_lanes(words);
      if (part.rows[r] >= 0)
        *reinterpret_cast<uint4*>(to + chunk * 8) = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
}

/// The two warpgroups give their products in turns, so that one makes its weights while the other's products run. Both
/// go through all stages of a tile, or they would wait for each other for ever.
struct InTurns {
  int which;

  __device__ explicit InTurns(int which_one) : which(which_one) {
    if (which == 1) yours();
  }
  __device__ void mine() const {
    asm volatile("bar.sync %0, %1;" ::"r"(1 + which), "n"(kMultipliers * kGroupThreads) : "memory");
  }
  __device__ void yours() const {
    asm volatile("bar.arrive %0, %1;" ::"r"(2 - which), "n"(kMultipliers * kGroupThreads) : "memory");
  }
};

/// One of the warpgroups that multiply.
template <typename E, bool kQuantised>
__device__ void multiply(const Args<E>& a, Shared<E>& shared, int which) {
  const int work = *a.tile_count * a.layout.heads;
  const auto done_with = [&](uint64_t* empty) {
    if (threadIdx.x % kWarp == 0) barrier_arrive(empty);
  };
  const InTurns turns(which);
  Turn<kStages> turn, v_turn;
  uint32_t queries[8][4];
  if (blockIdx.x < work) load_queries(a, Part(a, blockIdx.x, which), queries);
  for (int w = blockIdx.x; w < work; w += gridDim.x) {
    const Part part(a, w, which);
    const auto load_next = [&] {
      if (w + gridDim.x < work) load_queries(a, Part(a, w + gridDim.x, which), queries);
    };
    float scores[64], mix[64];
    uint32_t weights[8][4];
    float keep[2];
    Softmax softmax;
    deal_queries(queries);
    barrier_wait(&shared.k_full[turn.stage], turn.parity);
    wgmma_fence();
    multiply_keys(scores, queries, shared.k[turn.stage]);
    wgmma_commit();
    wgmma_wait<0>();
    keep_order(scores);
    done_with(&shared.k_empty[turn.stage]);
    turn.advance();
    if (kKeys - 1 > part.first_position) mask(scores, 0, part.positions);
    softmax.pass(scores, a.scale_log2, keep);
    pack_weights<E>(weights, scores);
    for (int j = 1; j < part.stages; ++j) {
      barrier_wait(&shared.k_full[turn.stage], turn.parity);
      keep_order(scores);
      keep_order(mix);
      turns.mine();
      wgmma_fence();
      multiply_keys(scores, queries, shared.k[turn.stage]);
      wgmma_commit();
      barrier_wait(&shared.v_full[v_turn.stage], v_turn.parity);
      multiply_values(mix, weights, shared.v[v_turn.stage], j > 1);
      wgmma_commit();
      turns.yours();
      wgmma_wait<1>();
      keep_order(scores);
      done_with(&shared.k_empty[turn.stage]);
      turn.advance();
      if ((j + 1) * kKeys - 1 > part.first_position) mask(scores, j * kKeys, part.positions);
      softmax.pass(scores, a.scale_log2, keep);
      wgmma_wait<0>();
      keep_order(mix);
      done_with(&shared.v_empty[v_turn.stage]);
      v_turn.advance();
      if (__any_sync(0xffffffffu, keep[0] != 1.0f || keep[1] != 1.0f)) {
#pragma unroll
        for (int i = 0; i < 64; ++i) mix[i] *= keep[i / 2 % 2];
      }
      pack_weights<E>(weights, scores);
    }
    barrier_wait(&shared.v_full[v_turn.stage], v_turn.parity);
    keep_order(mix);
    wgmma_fence();
    multiply_values(mix, weights, shared.v[v_turn.stage], part.stages > 1);
    wgmma_commit();
    load_next();  // the next tile's queries are on their way while this one ends
    wgmma_wait<0>();
    keep_order(mix);
    done_with(&shared.v_empty[v_turn.stage]);
    v_turn.advance();
    store_mix<E, kQuantised>(a, part, mix, softmax);
  }
}

#endif

template <typename E, bool kQuantised>
__global__ __launch_bounds__(kThreads, 1) void attend(const __grid_constant__ Args<E> a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  let_next_start();
  extern __shared__ char memory[];
  Shared<E>& shared = *reinterpret_cast<Shared<E>*>((reinterpret_cast<uintptr_t>(memory) + 1023) / 1024 * 1024);
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(&shared.k_full[s], 1);
      barrier_init(&shared.v_full[s], 1);
      barrier_init(&shared.k_empty[s], kMultipliers * kGroupThreads / kWarp);
      barrier_init(&shared.v_empty[s], kMultipliers * kGroupThreads / kWarp);
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();
  if (threadIdx.x < kGroupThreads) {
    fewer_registers<40>();
    if (threadIdx.x < kWarp) fetch(a, shared);
  } else {
    more_registers<232>();
    // From one lane to all: the compiler must see that a warpgroup does not diverge.
    multiply<E, kQuantised>(a, shared, __shfl_sync(0xffffffffu, threadIdx.x / kGroupThreads, 0) - 1);
  }
#endif
}

template <typename E, bool kQuantised>
void launch(Matrix q, const StepView& step, const RowsView& rows, const KvPages& pages, const void* zeros, int groups,
            Matrix out, cudaStream_t stream) {
  const Args<E> args{static_cast<const E*>(q.data),
                     out.data,
                     q.stride,
                     out.stride,
                     static_cast<const E*>(pages.data),
                     static_cast<const E*>(zeros),
                     step.block_ids,
                     rows.tiles,
                     rows.tile_count,
                     KvLayout::of(pages, true),
                     static_cast<int32_t>(q.cols / (int64_t{pages.heads} * kHeadDim)),
                     static_cast<int32_t>(q.cols),
                     1.44269504f / sqrtf(static_cast<float>(kHeadDim))};
  const auto kernel = attend<E, kQuantised>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kSharedBytes)),
        "shared memory for attention");
  kernel<<<static_cast<unsigned>(groups), kThreads, kSharedBytes, stream>>>(args);
  check_launch("attention_hopper");
}

}  // namespace

void attention_hopper(Matrix q, const StepView& step, const RowsView& rows, const KvPages& pages, const void* zeros,
                      int groups, Matrix out, cudaStream_t stream) {
  if (q.rows == 0) return;
  const auto of = q.dtype == DType::kF16      ? launch<__half, false>
                  : out.dtype == DType::kE4m3 ? launch<__nv_bfloat16, true>
                                              : launch<__nv_bfloat16, false>;
  of(q, step, rows, pages, zeros, groups, out, stream);
}

}  // namespace quern::cuda
