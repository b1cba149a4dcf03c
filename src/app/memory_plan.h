// MemoryPlan: what the server will hold at most, decided and compared with what there is before the first weight is
// read.
//
// Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/machine.h"
#include "base/result.h"

namespace quern {

/// Bytes of each part at its largest, and what they were sized by.
struct MemoryPlan {
  int64_t weights_bytes = 0;
  int64_t activations_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t scratch_bytes = 0;       // the device's own: tables, scratch, kernels' code
  int64_t requests_bytes = 0;      // --max-buffered-bytes
  int64_t requests_bytes_min = 0;  // what --max-body-bytes and --max-header-bytes need of them
  int32_t context_tokens_max = 0;
  int32_t batch_tokens_max = 0;
  int32_t block_tokens = 1;
  int64_t kv_bytes_per_block = 0;

  int64_t model_bytes() const { return weights_bytes + activations_bytes + scratch_bytes + kv_bytes; }
  int64_t total_bytes() const { return model_bytes() + requests_bytes; }
};

/// One row of the table that is printed at start.
struct MemoryRow {
  std::string what;
  int64_t bytes = 0;
  std::string flag;  // what changes it
};
std::vector<MemoryRow> memory_rows(const MemoryPlan& plan);

/// What requests get when no flag says so: half of what the model leaves, at most 1 GiB, and never less than the least.
int64_t default_requests_bytes(int64_t left_bytes, int64_t least_bytes);

/// kInvalidArgument when the plan does not fit: says by how much, and names the flag to lower and to what.
Result<void> check_memory(const MemoryPlan& plan, const MachineLimits& machine);

/// "1.19 GiB", "47.5 MiB".
std::string bytes_text(int64_t bytes);

}  // namespace quern
