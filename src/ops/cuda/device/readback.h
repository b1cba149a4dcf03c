// CudaReadback: a copy to pinned host memory that is under way; the buffer goes back to its pool.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "ops/cuda/device/cuda_memory.h"
#include "ops/memory.h"

namespace quern::cuda {

/// Pinned buffers that wait for their next use.
using PinnedPool = std::vector<std::unique_ptr<PinnedMemory>>;

struct CudaReadback final : Readback {
  explicit CudaReadback(PinnedPool& from) : pool(from) {}
  ~CudaReadback() override {
    if (memory != nullptr) pool.push_back(std::move(memory));
  }
  PinnedPool& pool;
  std::unique_ptr<PinnedMemory> memory;
  DType dtype = DType::kF32;
  int64_t values = 0, cols = 0;
  Event copied;
};

}  // namespace quern::cuda
