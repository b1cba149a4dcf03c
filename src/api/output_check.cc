#include "api/output_check.h"

#include <cmath>

namespace quern {

Result<void> check_output(const Output& output, int32_t width, const std::string& what) {
  if (output.values.size() != static_cast<size_t>(width)) {
    return internal_error("the model gave " + std::to_string(output.values.size()) + " values instead of " +
                          std::to_string(width) + " for " + what);
  }
  if (!is_unit(output.values)) {
    return internal_error("the model gave a vector of norm " + std::to_string(std::sqrt(squared_norm(output.values))) +
                          " instead of 1 for " + what);
  }
  return {};
}

}  // namespace quern
