#include "kv/block_pool.h"

#include "base/check.h"

namespace quern {

BlockPool::BlockPool(int32_t block_count) : allocated_(static_cast<size_t>(block_count), false) {
  QUERN_CHECK(block_count > 0, "a block pool needs at least one block");
  free_.reserve(allocated_.size());
  for (int32_t id = block_count - 1; id >= 0; --id) free_.push_back(id);
}

bool BlockPool::allocate(int32_t count, std::vector<int32_t>& out) {
  QUERN_CHECK(count >= 0, "negative block count");
  if (count > free_count()) return false;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t id = free_.back();
    free_.pop_back();
    QUERN_CHECK(!allocated_[static_cast<size_t>(id)], "a block was free and allocated at once");
    allocated_[static_cast<size_t>(id)] = true;
    out.push_back(id);
  }
  return true;
}

void BlockPool::release(const std::vector<int32_t>& blocks) {
  for (auto id = blocks.rbegin(); id != blocks.rend(); ++id) {
    QUERN_CHECK(*id >= 0 && *id < block_count() && allocated_[static_cast<size_t>(*id)], "a block was released twice");
    allocated_[static_cast<size_t>(*id)] = false;
    free_.push_back(*id);
  }
}

}  // namespace quern
