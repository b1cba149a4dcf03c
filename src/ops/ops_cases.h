// The case table of the ops: every op on ordinary and hostile shapes, for every Ops alike. For tests only.
//
// A case computes on any Ops and gives back what that wrote, read through Ops alone, so that a device needs nothing
// more. Outputs are poisoned beforehand and lie in wider rows, whose margins must stay poison. A case can be cut to its
// first rows (or sequences): what they give must not depend on the rest.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace quern {

struct OpsCase {
  std::string name;
  int64_t parts = 0;    // rows or sequences of the whole case
  float tolerance = 0;  // of |got - want| / (1 + |want|)
  std::function<std::vector<float>(Ops& ops, int64_t parts)> compute;
};

/// Matrices of one case: random or poisoned, with margins.
class CaseMemory {
 public:
  explicit CaseMemory(Ops& ops) : ops_(ops) {}

  /// Near enough to normal: the sum of four bytes, mean 0, variance 1, at most 3.5 from it. Cheap, as cases are large.
  static std::vector<float> normal(int64_t count, uint32_t seed) {
    std::vector<float> values(static_cast<size_t>(count));
    std::minstd_rand mix(seed);
    uint32_t state = static_cast<uint32_t>(mix() ^ (mix() << 16));
    for (float& value : values) {
      state = state * 1664525u + 1013904223u;
      const uint32_t bits = state ^ (state >> 15);
      const uint32_t sum = (bits & 255u) + (bits >> 8 & 255u) + (bits >> 16 & 255u) + (bits >> 24);
      value = (static_cast<float>(sum) - 510.0f) / 147.8f;
    }
    return values;
  }

  /// The bytes of `values` as `dtype`.
  static std::vector<char> stored(const std::vector<float>& values, DType dtype) {
    QUERN_CHECK(dtype != DType::kE4m3, "rows of e4m3 are made by given()");
    std::vector<char> bytes(values.size() * dtype_bytes(dtype));
    for (size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::kF32) {
        std::memcpy(bytes.data() + 4 * i, &values[i], 4);
        continue;
      }
      const uint16_t bits = dtype == DType::kBf16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
      std::memcpy(bytes.data() + 2 * i, &bits, 2);
    }
    return bytes;
  }

  /// [rows, cols] in rows of cols + kMargin.
  Matrix given(int64_t rows, int64_t cols, DType dtype, const std::vector<float>& values, int64_t margin = kMargin) {
    if (dtype == DType::kE4m3) return given_e4m3(rows, cols, values);
    std::vector<float> wide(static_cast<size_t>(rows * (cols + margin)), NAN);
    for (int64_t r = 0; r < rows; ++r) std::copy_n(values.begin() + r * cols, cols, wide.begin() + r * (cols + margin));
    const std::vector<char> bytes = stored(wide, dtype);
    memories_.push_back(ops_.allocate(std::max<size_t>(bytes.size(), 1)));
    ops_.upload(bytes.data(), bytes.size(), *memories_.back());
    return {memories_.back()->data, dtype, rows, cols, cols + margin};
  }
  Matrix random(int64_t rows, int64_t cols, DType dtype, uint32_t seed, int64_t margin = kMargin) {
    return given(rows, cols, dtype, normal(rows * cols, seed), margin);
  }
  Matrix poisoned(int64_t rows, int64_t cols, DType dtype) {
    if (dtype == DType::kE4m3) return poisoned_bytes(matrix_bytes(dtype, rows, cols)).matrix(dtype, rows, cols);
    return given(rows, cols, dtype, std::vector<float>(static_cast<size_t>(rows * cols), NAN));
  }
  Memory& poisoned_bytes(size_t bytes) {
    const std::vector<char> poison(bytes, static_cast<char>(0xff));  // a NaN in every format
    memories_.push_back(ops_.allocate(bytes));
    ops_.upload(poison.data(), bytes, *memories_.back());
    return *memories_.back();
  }

  /// The values; fails where a margin was written.
  std::vector<float> read(const Matrix& m) {
    if (m.dtype == DType::kE4m3) return read_dense(m);
    const std::vector<float> wide = read_dense({m.data, m.dtype, m.rows, m.stride});
    std::vector<float> values;
    for (int64_t r = 0; r < m.rows; ++r) {
      const auto row = wide.begin() + r * m.stride;
      values.insert(values.end(), row, row + m.cols);
      for (auto i = row + m.cols; i < row + m.stride; ++i)
        if (!std::isnan(*i)) ADD_FAILURE() << "row " << r << ": written beyond its columns";
    }
    return values;
  }
  std::vector<float> read_dense(const Matrix& m) {
    std::vector<float> values(static_cast<size_t>(m.rows * m.cols));
    ops_.read(*ops_.start_read(m), values);
    return values;
  }

  static constexpr int64_t kMargin = 3;

 private:
  /// Rows of e4m3 have no margins: they end with their exponents.
  Matrix given_e4m3(int64_t rows, int64_t cols, const std::vector<float>& values) {
    Memory& memory = poisoned_bytes(matrix_bytes(DType::kE4m3, rows, cols));
    std::vector<char> bytes(memory.bytes, static_cast<char>(0xff));
    for (int64_t r = 0; r < rows; ++r)
      quantise_row(&values[r * cols], cols, false, &bytes[static_cast<size_t>(r * e4m3_stride(cols))]);
    ops_.upload(bytes.data(), bytes.size(), memory);
    return memory.matrix(DType::kE4m3, rows, cols);
  }

  Ops& ops_;
  std::vector<std::unique_ptr<Memory>> memories_;
};

/// Cases of the ops on activations, weights and K/V of dtype E; for e4m3 they are Precision::of(e4m3).
std::vector<OpsCase> product_cases(DType E);
std::vector<OpsCase> row_cases(DType E);
std::vector<OpsCase> attention_cases(DType E);

inline std::vector<OpsCase> ops_cases(DType E) {
  std::vector<OpsCase> all = row_cases(E);
  for (auto more : {product_cases(E), attention_cases(E)})
    for (OpsCase& one : more) all.push_back(std::move(one));
  return all;
}

/// Whether `ops` computes in E at all.
inline bool computes_in(Ops& ops, DType E) {
  ModelShape small;
  small.hidden_size = small.intermediate_size = small.vocab_size = 64;
  small.heads = small.kv_heads = 1;
  small.head_dim = 64;
  small.tokens_max = small.sequences_max = small.positions_max = 512;
  small.kv_blocks = 64;
  small.block_tokens = 16;
  return ops.prepare(small, Precision::of(E)).ok();
}

/// Within the case's tolerance of `want`; where that is not finite, neither is `got`.
inline void expect_near(const OpsCase& one, const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size()) << one.name;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isfinite(want[i]) ? !(std::abs(got[i] - want[i]) <= one.tolerance * (1 + std::abs(want[i])))
                               : std::isfinite(got[i])) {
      ADD_FAILURE() << one.name << ": value " << i << " is " << got[i] << ", expected " << want[i];
      return;
    }
  }
}

/// The first parts of the case give the same bits without the rest.
inline void expect_no_company(const OpsCase& one, Ops& ops, const std::vector<float>& whole) {
  for (int64_t parts = 1; parts < one.parts; parts += parts < 20 ? 1 : 37) {
    const std::vector<float> few = one.compute(ops, parts);
    ASSERT_LE(few.size(), whole.size()) << one.name;
    ASSERT_EQ(std::memcmp(few.data(), whole.data(), few.size() * sizeof(float)), 0) << one.name << ", cut to " << parts;
  }
}

}  // namespace quern

#include "ops/ops_cases.inc"
