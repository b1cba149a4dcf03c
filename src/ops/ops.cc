#include "ops/ops.h"

#include <cmath>
#include <vector>

namespace quern {

Vector make_vector(Ops& ops, std::span<const float> values) {
  Vector vector{ops.allocate(values.size_bytes())};
  ops.upload(values.data(), values.size_bytes(), *vector.memory);
  return vector;
}

Table make_table(Ops& ops, const ConstMatrix& values) {
  Table table{ops.allocate(values.bytes()), values.dtype, values.rows, values.cols};
  ops.upload(values.data, values.bytes(), *table.memory);
  return table;
}

RopeTable make_rope_table(Ops& ops, double theta, int64_t head_dim, int64_t positions) {
  const int64_t half = head_dim / 2;
  std::vector<float> frequency(half);
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequency[i] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  std::vector<float> values(static_cast<size_t>(positions * head_dim));
  float* out = values.data();
  for (int64_t p = 0; p < positions; ++p, out += head_dim) {
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(p) * frequency[i];  // in f32, as the reference computes it
      out[i] = std::cos(angle);
      out[half + i] = std::sin(angle);
    }
  }
  RopeTable table{ops.allocate(values.size() * sizeof(float)), head_dim, positions};
  ops.upload(values.data(), table.memory->bytes, *table.memory);
  return table;
}

}  // namespace quern
