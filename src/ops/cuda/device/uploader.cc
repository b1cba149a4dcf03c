#include "ops/cuda/device/uploader.h"

#include <algorithm>
#include <cstring>

namespace quern::cuda {
namespace {

void convert(const ConstMatrix& from, int64_t begin, int64_t count, void* to, DType to_dtype) {
  if (from.dtype == to_dtype) {
    const size_t bytes = dtype_bytes(to_dtype);
    std::memcpy(to, static_cast<const char*>(from.data) + begin * bytes, count * bytes);
  } else if (to_dtype == DType::kF32) {
    for (int64_t i = 0; i < count; ++i) static_cast<float*>(to)[i] = stored_value(from, begin + i);
  } else {
    QUERN_CHECK(to_dtype == DType::kBf16 || to_dtype == DType::kF16, "e4m3 is made on the device");
    const auto rounded = to_dtype == DType::kBf16 ? f32_to_bf16 : f32_to_f16;
    for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(to)[i] = rounded(stored_value(from, begin + i));
  }
}

}  // namespace

void Uploader::send(const ConstMatrix& from, void* to, DType to_dtype) {
  const int64_t bytes = static_cast<int64_t>(dtype_bytes(to_dtype));
  const int64_t step = static_cast<int64_t>(kBufferBytes) / bytes;
  const int64_t count = from.rows * from.cols;
  for (int64_t begin = 0; begin < count; begin += step) {
    Slot& slot = slots_[next_];
    next_ = 1 - next_;
    slot.sent.wait();
    const int64_t n = std::min(step, count - begin);
    convert(from, begin, n, slot.memory.data(), to_dtype);
    check(cudaMemcpyAsync(static_cast<char*>(to) + begin * bytes, slot.memory.data(), static_cast<size_t>(n * bytes),
                          cudaMemcpyHostToDevice, stream_),
          "copying to the device");
    slot.sent.set(stream_);
  }
}

}  // namespace quern::cuda
