// What an Ops gives out: memory on its device, and the values that were put there. Whoever holds one frees it, before
// the Ops that made it; nobody but that Ops may follow an address that stands in it.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "tensor/dtype.h"
#include "tensor/e4m3.h"

namespace quern {

/// What rows of a dense matrix are apart, in elements: e4m3 has its exponents behind each row (tensor/e4m3.h).
constexpr int64_t dense_stride(DType dtype, int64_t cols) { return dtype == DType::kE4m3 ? e4m3_stride(cols) : cols; }
constexpr size_t matrix_bytes(DType dtype, int64_t rows, int64_t cols) {
  return static_cast<size_t>(rows * dense_stride(dtype, cols)) * dtype_bytes(dtype);
}

/// A view of rows on the device; somebody else owns the memory. Row r begins at element r * stride; of e4m3 all of a
/// row is in the view, since its exponents belong to it.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = dense_stride(dtype, cols);

  float* f32() const { return static_cast<float*>(data); }
  bf16* b16() const { return static_cast<bf16*>(data); }
  int64_t stride_bytes() const { return stride * static_cast<int64_t>(dtype_bytes(dtype)); }

  /// Columns [begin, begin + count) of every row.
  Matrix columns(int64_t begin, int64_t count) const {
    QUERN_CHECK(begin >= 0 && count >= 0 && begin + count <= cols && dtype != DType::kE4m3, "columns of no matrix");
    return {static_cast<char*>(data) + begin * static_cast<int64_t>(dtype_bytes(dtype)), dtype, rows, count, stride};
  }
};

/// Dense rows in host memory, as they lie in a checkpoint: of any storage dtype, at any address, aligned or not.
struct ConstMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;

  size_t bytes() const { return static_cast<size_t>(rows * cols) * dtype_bytes(dtype); }
};

/// Element `index` of it, as f32.
inline float stored_value(const ConstMatrix& m, int64_t index) {
  const char* from = static_cast<const char*>(m.data) + index * static_cast<int64_t>(dtype_bytes(m.dtype));
  if (m.dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof bits);
  return m.dtype == DType::kBf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

/// Bytes on the device; what they hold at first is undefined.
class Memory {
 public:
  virtual ~Memory() = default;

  void* data = nullptr;  // on the device, aligned to 256 bytes
  size_t bytes = 0;

  /// The first rows * cols elements as a dense matrix.
  Matrix matrix(DType dtype, int64_t rows, int64_t cols) const {
    QUERN_CHECK(matrix_bytes(dtype, rows, cols) <= bytes, "a view beyond its memory");
    return {data, dtype, rows, cols};
  }
};

/// f32 [n], for example the weight of a norm.
struct Vector {
  std::unique_ptr<Memory> memory;

  const float* data() const { return static_cast<const float*>(memory->data); }
};

/// Rows of a storage dtype [rows, cols] to look up, dense: the embedding.
struct Table {
  std::unique_ptr<Memory> memory;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
};

/// f32 [positions, d]: d/2 cosines, then d/2 sines of position * theta^(-2i/d).
struct RopeTable {
  std::unique_ptr<Memory> memory;
  int64_t head_dim = 0;  // d
  int64_t positions = 0;

  const float* data() const { return static_cast<const float*>(memory->data); }
};

class LinearWeight;

/// Some consecutive outputs of a linear layer: the whole, or some of its parts.
struct WeightColumns {
  const LinearWeight* weight = nullptr;
  int64_t begin = 0;  // of the weight's outputs
  int64_t count = 0;  // N
};

/// A linear layer's weight in the layout that its Ops likes: y[N] = W[N, C] x[C]. Several layers with one input lie in
/// one weight as its parts, one after the other (q, k, v; gate, up).
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  virtual size_t bytes() const = 0;

  int64_t in_cols = 0;               // C
  std::vector<int64_t> part_begins;  // [parts + 1]: the outputs before each part; the last is N

  int64_t out_cols() const { return part_begins.back(); }
  WeightColumns all() const { return {this, 0, out_cols()}; }
  WeightColumns parts(size_t first, size_t count) const {
    QUERN_CHECK(first + count < part_begins.size(), "parts beyond the weight");
    return {this, part_begins[first], part_begins[first + count] - part_begins[first]};
  }
};

/// A copy to the host that start_read() has enqueued.
class Readback {
 public:
  virtual ~Readback() = default;
};

}  // namespace quern
