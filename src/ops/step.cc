#include "ops/step.h"

namespace quern {
namespace {

void append(Rows& rows, int64_t count, int64_t position_begin, int32_t sequence) {
  rows.sequences.push_back({rows.count(), count, position_begin, sequence});
  for (int64_t i = 0; i < count; ++i) {
    rows.positions.push_back(static_cast<int32_t>(position_begin + i));
    rows.sequence_of.push_back(sequence);
  }
}

void clear_rows(Rows& rows) {
  rows.sequences.clear();
  rows.positions.clear();
  rows.sequence_of.clear();
}

}  // namespace

void Step::add(std::span<const int32_t> ids, int64_t position_begin, std::span<const int32_t> blocks, bool is_last) {
  const int64_t count = static_cast<int64_t>(ids.size());
  const int32_t sequence = static_cast<int32_t>(table_begins.size());
  token_ids.insert(token_ids.end(), ids.begin(), ids.end());
  table_begins.push_back(static_cast<int32_t>(block_ids.size()));
  block_ids.insert(block_ids.end(), blocks.begin(), blocks.end());
  append(all, count, position_begin, sequence);
  if (!is_last) return;
  append(last, 1, position_begin + count - 1, sequence);
  last_indices.push_back(static_cast<int32_t>(all.count() - 1));
}

void Step::clear() {
  token_ids.clear();
  clear_rows(all);
  clear_rows(last);
  last_indices.clear();
  block_ids.clear();
  table_begins.clear();
}

}  // namespace quern
