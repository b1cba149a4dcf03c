// Where K and V of one position lie in the pages. A block holds, for each key/value head, K [block_tokens, d] and then
// V [block_tokens, d].
//
// For 16-bit values of 128 columns ("tiled") both lie as the matrix units read them from shared memory, so that a page
// comes there with one bulk copy: groups of 8 positions, of which each half of the columns is 8 rows of 128 bytes whose
// 16-byte chunks are exchanged by the row (the 128-byte swizzle). Otherwise they lie row by row.
#pragma once

#include <cstdint>

#include "ops/ops.h"

namespace quern::cuda {

struct KvLayout {
  int32_t block_tokens = 0;
  int32_t heads = 0;
  int32_t head_dim = 0;
  bool tiled = false;

  static KvLayout of(const KvPages& pages, bool tiled_allowed) {
    const bool fits = pages.head_dim == 128 && dtype_bytes(pages.dtype) == 2 && pages.block_tokens % 8 == 0 &&
                      128 % pages.block_tokens == 0;
    return {pages.block_tokens, pages.heads, pages.head_dim, tiled_allowed && fits};
  }
  QUERN_HOST_DEVICE int64_t part_elements() const { return int64_t{block_tokens} * head_dim; }
  QUERN_HOST_DEVICE int64_t block_elements() const { return 2 * heads * part_elements(); }
  /// K of a block's head; V lies part_elements() behind it.
  QUERN_HOST_DEVICE int64_t head_begin(int64_t block, int32_t head) const {
    return block * block_elements() + 2 * head * part_elements();
  }
  /// Within K or V of a block's head.
  QUERN_HOST_DEVICE int64_t element(int32_t slot, int32_t i) const {
    if (!tiled) return int64_t{slot} * head_dim + i;
    const int32_t row = slot % 8;
    const int32_t chunk = (i % 64 / 8) ^ row;
    return slot / 8 * 1024 + i / 64 * 512 + row * 64 + chunk * 8 + i % 8;
  }
};

}  // namespace quern::cuda
