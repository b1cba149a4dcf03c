// Hopper's own instructions: products of a warpgroup (wgmma), bulk copies, and the barriers in shared memory that both
// end on. PTX ISA 8.0, sections on wgmma and mbarrier.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace quern::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Barriers.
__device__ inline void barrier_init(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals));
}
__device__ inline void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ inline void barrier_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
/// Waits until the phase of that parity has ended.
__device__ inline void barrier_wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra end_%=;\n"
      "bra again_%=;\n"
      "end_%=:\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

/// Copies to shared memory; `barrier` counts the bytes. Addresses and size are multiples of 16.
__device__ inline void bulk_copy(void* to, const void* from, uint32_t bytes, uint64_t* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

/// A matrix in shared memory in 128-byte swizzled atoms of 8 rows; the offsets are in bytes, as the ISA defines them.
__device__ inline uint64_t matrix_of(const void* p, uint32_t leading_offset, uint32_t stride_offset) {
  return static_cast<uint64_t>((shared_address(p) & 0x3ffff) >> 4) | static_cast<uint64_t>(leading_offset >> 4) << 16 |
         static_cast<uint64_t>(stride_offset >> 4) << 32 | uint64_t{1} << 62;
}

__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// The compiler keeps reads and writes of the registers on their side of this line.
template <int N>
__device__ inline void keep_order(float (&registers)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}

// The 64 registers of an accumulator from d[i] on, as an asm statement's operands.
#define QUERN_OUT_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define QUERN_OUT_16(d, i) QUERN_OUT_4(d, i), QUERN_OUT_4(d, i + 4), QUERN_OUT_4(d, i + 8), QUERN_OUT_4(d, i + 12)
#define QUERN_OUT_64(d, i) QUERN_OUT_16(d, i), QUERN_OUT_16(d, i + 16), QUERN_OUT_16(d, i + 32), QUERN_OUT_16(d, i + 48)
// Their names in the statement's text.
#define QUERN_NAMES_0_TO_63                                                                              \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
  "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
  "%62, %63"
#define QUERN_NAMES_64_TO_127                                                                                    \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, "    \
  "%85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, "    \
  "%105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, " \
  "%123, %124, %125, %126, %127"

// One instruction for each format; E is __nv_bfloat16 or __half.
#define QUERN_WGMMA_64x128x16(FORMAT)                                                           \
  asm volatile(                                                                                 \
      "{\n"                                                                                     \
      ".reg .pred p;\n"                                                                         \
      "setp.ne.b32 p, %69, 0;\n"                                                                \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." FORMAT "." FORMAT " {" QUERN_NAMES_0_TO_63 \
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n"                                           \
      "}\n"                                                                                     \
      : QUERN_OUT_64(d, 0)                                                                      \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kTransposeB))
#define QUERN_WGMMA_64x256x16(FORMAT)                                                           \
  asm volatile(                                                                                 \
      "{\n"                                                                                     \
      ".reg .pred p;\n"                                                                         \
      "setp.ne.b32 p, %130, 0;\n"                                                               \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." FORMAT "." FORMAT " {" QUERN_NAMES_0_TO_63 \
      ", " QUERN_NAMES_64_TO_127                                                                \
      "}, %128, %129, p, 1, 1, 0, 0;\n"                                                         \
      "}\n"                                                                                     \
      : QUERN_OUT_64(d, 0), QUERN_OUT_64(d, 64)                                                 \
      : "l"(a), "l"(b), "r"(accumulate))

/// d [64, 128] = a [64, 16] b [16, 128] (+ d, where `accumulate`). kTransposeB: b lies with its 128 columns contiguous.
template <typename E, int kTransposeB>
__device__ inline void wgmma_64x128x16(float (&d)[64], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  if constexpr (std::is_same_v<E, __half>) {
    QUERN_WGMMA_64x128x16("f16");
  } else {
    QUERN_WGMMA_64x128x16("bf16");
  }
}

/// d [64, 256] = a [64, 16] b [256, 16]^T (+ d, where `accumulate`), both with their 16 columns contiguous.
template <typename E>
__device__ inline void wgmma_64x256x16(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
  if constexpr (std::is_same_v<E, __half>) {
    QUERN_WGMMA_64x256x16("f16");
  } else {
    QUERN_WGMMA_64x256x16("bf16");
  }
}
/// The same of e4m3, 32 columns at a time.
__device__ inline void wgmma_64x256x32_e4m3(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 {" QUERN_NAMES_0_TO_63 ", " QUERN_NAMES_64_TO_127
      "}, "
      "%128, %129, p, 1, 1;\n"
      "}\n"
      : QUERN_OUT_64(d, 0), QUERN_OUT_64(d, 64)
      : "l"(a), "l"(b), "r"(accumulate));
}

/// Which of a ring's stages is next, and the parity of its phase.
template <int kStages>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// A pair of blocks that share their copies (a cluster).
__device__ inline uint32_t rank_in_pair() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// Every thread of both blocks comes here before one leaves.
__device__ inline void pair_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// Arrives at the barrier of that place in the block of that rank.
__device__ inline void barrier_arrive_at(uint64_t* barrier, uint32_t rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}
/// Copies the box at (column, row) of a matrix to shared memory; `barrier` counts the bytes.
__device__ inline void box_copy(void* to, const CUtensorMap& from, int column, int row, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
          shared_address(to)),
      "l"(&from), "r"(shared_address(barrier)), "r"(column), "r"(row)
      : "memory");
}
/// The same to that place in both blocks of the pair, each with its own barrier.
__device__ inline void box_copy_to_pair(void* to, const CUtensorMap& from, int column, int row, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
      "l"(&from), "r"(shared_address(barrier)), "r"(column), "r"(row), "h"(static_cast<uint16_t>(3))
      : "memory");
}

template <uint32_t kRegisters>
__device__ inline void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <uint32_t kRegisters>
__device__ inline void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// Four lanes hold words 0..3 of four chunks; afterwards lane n holds all of chunk n.
__device__ inline void transpose_4_lanes(uint32_t (&words)[4]) {
  const int lane = threadIdx.x;
#pragma unroll
  for (int bit = 1; bit <= 2; bit *= 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & bit) != 0) continue;
      const bool high = (lane & bit) != 0;
      const uint32_t received = __shfl_xor_sync(0xffffffffu, high ? words[i] : words[i | bit], bit);
      if (high) {
        words[i] = received;
      } else {
        words[i | bit] = received;
      }
    }
  }
}

template <typename E>
__device__ inline uint32_t packed(float low, float high) {
  if constexpr (std::is_same_v<E, __half>) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}

#endif

}  // namespace quern::cuda
