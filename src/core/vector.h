// Vector: one embedding, as the engine and the caches know it.
#pragma once

#include <vector>

namespace quern {

/// Full width [D], f32, L2 norm 1. `dimensions` is applied later, in api/.
struct Vector {
  std::vector<float> values;
};

}  // namespace quern
