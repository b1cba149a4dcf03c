// Batch: what the model computes in one step. Ragged: no padding anywhere.
//
// Plain integers, so that it can cross a process boundary. The scheduler makes it, a runner consumes it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/output.h"

namespace quern {

/// A contiguous run of one Job's tokens inside a Batch.
struct Span {
  uint64_t job_id = 0;
  int32_t token_begin = 0;     // offset into Batch::token_ids
  int32_t token_count = 0;     // > 0
  int32_t position_begin = 0;  // position of its first token = tokens of this Job already in K/V
  int32_t block_begin = 0;     // offset into Batch::block_ids of this Job's page table
  int32_t block_count = 0;     // blocks that hold positions [0, position_begin + token_count)
  bool is_last = false;        // ends its Job: the row of its last token is pooled into an Output
};

struct Batch {
  uint64_t id = 0;
  std::vector<int32_t> token_ids;  // [T]
  std::vector<Span> spans;         // [B], in token order, covering [0, T)
  std::vector<int32_t> block_ids;  // page tables, one after the other
};

/// The Outputs of the spans with is_last, in span order.
struct BatchResult {
  uint64_t batch_id = 0;
  std::vector<Output> vectors;
};

}  // namespace quern
