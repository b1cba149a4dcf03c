// Memory of an Ops that computes on the host: the addresses are our own, and calls have ended when they return.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "ops/ops.h"
#include "tensor/buffer.h"

namespace quern {

/// Resident where it has been touched. Throws std::bad_alloc when there is no address space for it.
class HostMemory : public Memory {
 public:
  explicit HostMemory(size_t size) : buffer_(size) {
    data = buffer_.data();
    bytes = size;
  }

 private:
  Buffer buffer_;
};

inline void upload_to_host(const void* from, size_t bytes, Memory& to) {
  QUERN_CHECK(bytes <= to.bytes, "an upload beyond its memory");
  if (bytes > 0) std::memcpy(to.data, from, bytes);
}

/// A copy, since the next step overwrites what was read.
class HostReadback : public Readback {
 public:
  explicit HostReadback(const Matrix& x) {
    values_.reserve(static_cast<size_t>(x.rows * x.cols));
    for (int64_t r = 0; r < x.rows; ++r) {
      const ConstMatrix row{static_cast<const char*>(x.data) + r * x.stride_bytes(), x.dtype, 1, x.cols};
      for (int64_t i = 0; i < x.cols; ++i) {
        values_.push_back(x.dtype == DType::kE4m3 ? quantised_value(row.data, x.cols, i) : stored_value(row, i));
      }
    }
  }
  void copy_to(std::span<float> out) const {
    QUERN_CHECK(out.size() == values_.size(), "a read of another size than was started");
    std::copy(values_.begin(), values_.end(), out.begin());
  }

 private:
  std::vector<float> values_;
};

}  // namespace quern
