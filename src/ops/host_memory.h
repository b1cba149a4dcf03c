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

/// An element of a matrix in host memory, of any format, as f32.
inline float host_value(const Matrix& m, int64_t row, int64_t col) {
  const char* const from = static_cast<const char*>(m.data) + row * m.stride_bytes();
  return m.dtype == DType::kE4m3 ? quantised_value(from, m.cols, col) : stored_value({from, m.dtype, 1, m.cols}, col);
}

/// A copy, since the next step overwrites what was read.
class HostReadback : public Readback {
 public:
  explicit HostReadback(const Matrix& x) {
    values_.reserve(static_cast<size_t>(x.rows * x.cols));
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.cols; ++c) values_.push_back(host_value(x, r, c));
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
