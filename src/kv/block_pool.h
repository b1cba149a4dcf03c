// BlockPool: which pages of the K/V memory are free.
//
// Integers only: the worker owns the bytes. A block holds `block_tokens` positions of every layer. Allocation is all or
// nothing and last-in-first-out, so that memory touched once is touched again before new pages are.
// Not thread-safe: the scheduler is its only user.
#pragma once

#include <cstdint>
#include <vector>

namespace quern {

class BlockPool {
 public:
  explicit BlockPool(int32_t block_count);

  /// Appends `count` distinct block ids in [0, block_count()) to `out`; false, and `out` unchanged, when fewer are
  /// free.
  bool allocate(int32_t count, std::vector<int32_t>& out);

  /// Gives blocks back. CHECKs that each one is allocated.
  void release(const std::vector<int32_t>& blocks);

  int32_t block_count() const { return static_cast<int32_t>(allocated_.size()); }
  int32_t free_count() const { return static_cast<int32_t>(free_.size()); }
  int32_t used_count() const { return block_count() - free_count(); }

 private:
  std::vector<int32_t> free_;    // a stack
  std::vector<bool> allocated_;  // [block_count]: catches double allocation and double release
};

/// Blocks that hold `tokens` positions.
constexpr int32_t blocks_for_tokens(int64_t tokens, int32_t block_tokens) {
  return static_cast<int32_t>((tokens + block_tokens - 1) / block_tokens);
}

}  // namespace quern
