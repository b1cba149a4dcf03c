// CudaOps: the ops on one NVIDIA GPU. They live in a shared object of their own, libquern_cuda.so, so that one program
// serves machines with and without a GPU: nothing else links CUDA.
//
// open_cuda_ops() loads it; the object stays loaded. An Ops is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "ops/ops.h"

namespace quern {

struct CudaOptions {
  int device = 0;
  /// Scratch for the products.
  size_t workspace_bytes = size_t{64} << 20;
  /// Steps of up to so many tokens that repeat are captured and replayed; 0: none is.
  int64_t graph_tokens_max = 1024;
  /// Captured steps kept; the one that was used longest ago goes first.
  size_t graphs_max = 64;
};

/// The shared object is looked for at QUERN_CUDA_LIBRARY, then beside the program, then where the system looks. An
/// Error says what is missing: the object, the driver, a library, the device.
Result<std::unique_ptr<Ops>> open_cuda_ops(const CudaOptions& options);

namespace cuda {
/// The object's one entry: the Ops, or nullptr and why.
using MakeOps = Ops* (*)(const CudaOptions& options, std::string& failure);
constexpr char kMakeOpsName[] = "quern_make_cuda_ops";
}  // namespace cuda

}  // namespace quern
