// Output: what a Job ends in, as the engine and the caches know it; and the few things that are done to an embedding.
//
// Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace quern {

/// An embedding: full width [D], f32, L2 norm 1. `dimensions` is applied later, in api/.
struct Output {
  std::vector<float> values;
};

/// How far from 1 the norm of a unit vector may be.
constexpr double kNormTolerance = 1e-3;

/// In f64; NaN or infinite when a value is. `b` has as many values as `a`.
double dot(std::span<const float> a, std::span<const float> b);

/// Of a vector with itself.
double squared_norm(std::span<const float> values);

/// Every value is finite and the L2 norm is 1 within kNormTolerance.
bool is_unit(std::span<const float> values);

/// Keeps the first `dimensions` values and, if asked, makes their norm 1 again (Matryoshka; Kusupati et al. 2022).
/// Full width stays as it is, bit for bit. kInternal when what is left is all but zero and has no direction.
Result<void> cut(std::vector<float>& values, int64_t dimensions, bool normalize);

}  // namespace quern
