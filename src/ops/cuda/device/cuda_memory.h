// Handles of what CUDA gives out: memory of the device, pinned memory of the host, streams, events. Each frees its own.
//
// All memory is asked for while a model is loaded; a refusal says how much was wanted and for what. One thread.
#pragma once

#include <cuda_runtime.h>

#include <string>
#include <utility>

#include "ops/cuda/device/cuda_error.h"
#include "ops/memory.h"

namespace quern::cuda {

class DeviceMemory final : public Memory {
 public:
  DeviceMemory(size_t wanted, const char* what) {
    const cudaError_t status = cudaMalloc(&data, wanted == 0 ? 1 : wanted);
    if (status != cudaSuccess) {
      (void)cudaGetLastError();
      size_t free = 0, total = 0;
      (void)cudaMemGetInfo(&free, &total);
      throw Failure("CUDA: " + std::to_string(wanted >> 20) + " MiB for " + what + ": " + cudaGetErrorString(status) +
                    "; " + std::to_string(free >> 20) + " of the device's " + std::to_string(total >> 20) +
                    " MiB are free");
    }
    bytes = wanted;
  }
  ~DeviceMemory() override { cudaFree(data); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
};

class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes) : bytes_(bytes) {
    check(cudaMallocHost(&data_, bytes == 0 ? 1 : bytes), "pinned memory of the host");
  }
  ~PinnedMemory() { cudaFreeHost(data_); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  char* data() const { return static_cast<char*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }  // NOLINT: implicit by design

 private:
  cudaStream_t stream_ = nullptr;
};

/// A mark in a stream; one that was never set has passed.
class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void set(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "setting an event"); }
  void wait() { check(cudaEventSynchronize(event_), "waiting for the device"); }
  /// Whether wait() would not wait; a failure it would tell.
  bool is_past() const { return cudaEventQuery(event_) != cudaErrorNotReady; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace quern::cuda
