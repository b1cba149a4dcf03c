#include "base/memory_budget.h"

#include <string>

namespace quern {

Error out_of_budget(int64_t bytes_max, int64_t bytes_needed, int64_t bytes_at_most) {
  const std::string limit = std::to_string(bytes_max) + " bytes (--max-buffered-bytes)";
  if (bytes_needed > bytes_at_most) {
    return Error{ErrorCode::kPayloadTooLarge,
                 "This request needs " + std::to_string(bytes_needed) +
                     " bytes of memory; the server's limit for all is " + limit + ". Send less at once.",
                 "", 0};
  }
  return Error{ErrorCode::kOverloaded,
               "Requests in memory have reached the server's limit of " + limit + "; try again later.", "", 1};
}

}  // namespace quern
