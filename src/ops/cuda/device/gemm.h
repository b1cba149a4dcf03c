// Gemm: the products of the linear layers, by cuBLASLt.
//
// Owns the library's handle, its workspace and the plan of each kind of product: one algorithm for all row counts of a
// bucket (a power of two up to 1,024, then a multiple of 1,024), so that a row's sum runs in the same order in all of
// them. A kind is a weight shape, so the plans are a few for each bucket, and buckets end at tokens_max. One thread.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <map>
#include <tuple>

#include "ops/cuda/device/cuda_memory.h"
#include "ops/ops.h"

namespace quern::cuda {

class Gemm {
 public:
  Gemm(cudaStream_t stream, size_t workspace_bytes);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// out [M, N] = x [M, C] w^T, w dense [N, C] of x's format; added to what out holds where `accumulate`.
  void run(Matrix x, const void* w, int64_t N, Matrix out, bool accumulate);

 private:
  struct Layouts;
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int, int, bool, uint32_t>;
  cublasLtMatmulAlgo_t choose(const Layouts& layouts, uint32_t alignment);

  cudaStream_t stream_;
  cublasLtHandle_t handle_ = nullptr;
  DeviceMemory workspace_;
  std::map<Key, cublasLtMatmulAlgo_t> plans_;
};

/// The largest row count of the bucket that `rows` is in.
int64_t gemm_bucket(int64_t rows);

}  // namespace quern::cuda
