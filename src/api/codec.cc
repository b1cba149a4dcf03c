#include "api/codec.h"

namespace quern {

std::string input_name(const CallPlan& plan, size_t index) {
  return plan.single ? "input" : "input[" + std::to_string(index) + "]";
}

}  // namespace quern
