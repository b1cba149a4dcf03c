// Uploader: values from pageable or mapped memory to the device, through two pinned buffers, so that one is filled
// while the other is on its way.
//
// Owns the buffers. One thread.
#pragma once

#include "ops/cuda/device/cuda_memory.h"

namespace quern::cuda {

class Uploader {
 public:
  explicit Uploader(cudaStream_t stream) : stream_(stream) {}

  /// Enqueues the values, as `to_dtype`; the source may go when this returns.
  void send(const ConstMatrix& from, void* to, DType to_dtype);

 private:
  static constexpr size_t kBufferBytes = size_t{16} << 20;
  struct Slot {
    PinnedMemory memory{kBufferBytes};
    Event sent;
  };
  cudaStream_t stream_;
  Slot slots_[2];
  int next_ = 0;
};

}  // namespace quern::cuda
