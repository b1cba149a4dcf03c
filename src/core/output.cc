#include "core/output.h"

#include <cmath>
#include <string>

namespace quern {
namespace {

// Below this a cut vector has no direction left to normalise.
constexpr double kNormMin = 1e-6;

}  // namespace

double dot(std::span<const float> a, std::span<const float> b) {
  QUERN_CHECK(a.size() == b.size(), "a dot product of vectors of two widths");
  double sums[4] = {};
  size_t i = 0;
  for (; i + 4 <= a.size(); i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) sums[lane] += static_cast<double>(a[i + lane]) * b[i + lane];
  }
  for (; i < a.size(); ++i) sums[0] += static_cast<double>(a[i]) * b[i];
  return sums[0] + sums[1] + sums[2] + sums[3];
}

double squared_norm(std::span<const float> values) { return dot(values, values); }

bool is_unit(std::span<const float> values) {
  // A NaN or an infinity anywhere makes the sum NaN or infinite: one pass checks both.
  const double norm = std::sqrt(squared_norm(values));
  return std::isfinite(norm) && std::abs(norm - 1.0) <= kNormTolerance;
}

Result<void> cut(std::vector<float>& values, int64_t dimensions, bool normalize) {
  if (dimensions == static_cast<int64_t>(values.size())) return {};
  values.resize(static_cast<size_t>(dimensions));
  if (!normalize) return {};
  const double norm = std::sqrt(squared_norm(values));
  if (!(norm >= kNormMin))
    return internal_error("the first " + std::to_string(dimensions) + " values of the vector are all but zero");
  for (float& value : values) value = static_cast<float>(value / norm);
  return {};
}

}  // namespace quern
