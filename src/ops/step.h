// Step: what one forward pass computes, apart from the numbers: which tokens, at which positions, of which sequences,
// in which K/V blocks, and which rows are pooled. Plain values, built once for each pass.
//
// Ops read it within run(step, ...); a device uploads it there once. Any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quern {

/// Consecutive rows of one sequence: row_begin + i has position position_begin + i.
struct SequenceRows {
  int64_t row_begin = 0;
  int64_t row_count = 0;
  int64_t position_begin = 0;
  int32_t sequence = 0;  // Step::table() of it
};

/// A choice of a step's rows, renumbered from 0, in the order of the sequences.
struct Rows {
  std::vector<SequenceRows> sequences;
  std::vector<int32_t> positions;    // [n]
  std::vector<int32_t> sequence_of;  // [n]

  int64_t count() const { return static_cast<int64_t>(positions.size()); }
};

struct Step {
  std::vector<int32_t> token_ids;     // [T]
  Rows all;                           // n = T
  Rows last;                          // n = B, the pooled rows: the last one of each sequence that ends
  std::vector<int32_t> last_indices;  // [B], into T
  std::vector<int32_t> block_ids;     // page tables, one after the other
  std::vector<int32_t> table_begins;  // [sequences], into block_ids

  /// The page table of a sequence, from position 0 on.
  const int32_t* table(int32_t sequence) const { return block_ids.data() + table_begins[sequence]; }

  /// Appends `ids` of one sequence, the first of them at position_begin; `blocks` holds every position up to the last.
  /// `is_last`: the last id ends the sequence, its row is pooled.
  void add(std::span<const int32_t> ids, int64_t position_begin, std::span<const int32_t> blocks, bool is_last);
  void clear();
};

}  // namespace quern
