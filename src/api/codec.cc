#include "api/codec.h"

namespace quern {

std::string input_name(const CallPlan& plan, size_t index) {
  return plan.single ? "input" : "input[" + std::to_string(index) + "]";
}

Error out_of_budget(const MemoryBudget& budget, int64_t bytes) {
  const std::string limit = std::to_string(budget.bytes_max()) + " bytes (--max-buffered-bytes)";
  if (bytes > budget.bytes_max()) {
    return Error{ErrorCode::kPayloadTooLarge,
                 "This request needs " + std::to_string(bytes) + " bytes of memory; the server's limit for all is " +
                     limit + ". Send fewer inputs at once.",
                 "", 0};
  }
  return Error{ErrorCode::kOverloaded,
               "Requests in memory have reached the server's limit of " + limit + "; try again later.", "", 1};
}

}  // namespace quern
