// CudaWeights: weights on the device, as they are stored or rounded; to e4m3 they are brought there, a few rows at a
// time.
//
// Owns the uploader and the memory in which rows wait to be quantised. One thread.
#pragma once

#include <memory>
#include <span>

#include "ops/cuda/device/cuda_memory.h"
#include "ops/cuda/device/uploader.h"
#include "ops/ops.h"

namespace quern::cuda {

/// Row-major [N, C], as it lies in the checkpoint; of e4m3 a scale for each output behind it.
struct CudaWeight final : LinearWeight {
  CudaWeight(int64_t rows, int64_t cols, DType format)
      : memory(static_cast<size_t>(rows * cols) * dtype_bytes(format) +
                   (format == DType::kE4m3 ? static_cast<size_t>(rows) * sizeof(float) + 16 : 0),
               "a weight"),
        dtype(format),
        scales(reinterpret_cast<float*>(static_cast<char*>(memory.data) + (rows * cols + 15) / 16 * 16)) {}
  size_t bytes() const override { return memory.bytes; }
  const void* rows_from(int64_t begin) const {
    return static_cast<const char*>(memory.data) + begin * in_cols * static_cast<int64_t>(dtype_bytes(dtype));
  }
  DeviceMemory memory;
  DType dtype;
  float* scales;
};

class CudaWeights {
 public:
  explicit CudaWeights(cudaStream_t stream) : stream_(stream), uploader_(stream) {}

  /// Ops::pack(); the parts' memory may go when it returns.
  std::unique_ptr<CudaWeight> pack(std::span<const ConstMatrix> parts, DType format);
  /// Of the device, for such weights, beside what pack() gives out.
  static size_t staging_bytes(const ModelShape& shape, DType format);

 private:
  void quantise_part(const ConstMatrix& part, char* to, float* scales);

  cudaStream_t stream_;
  Uploader uploader_;
  std::unique_ptr<DeviceMemory> staging_;
};

}  // namespace quern::cuda
