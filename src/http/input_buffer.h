// InputBuffer: the bytes of one connection that have been read and not yet parsed. Used by its io thread.
//
// Bytes just read are parsed where they lie; only what is left of them is copied and kept, paid for by a lease when it
// is more than kUncountedBytes.
#pragma once

#include <string>
#include <string_view>

#include "base/memory_budget.h"

namespace quern {

class InputBuffer {
 public:
  explicit InputBuffer(MemoryBudget& budget) : budget_(budget), lease_(budget) {}

  std::string_view unparsed() const { return unparsed_; }
  void consume(size_t bytes) { unparsed_.remove_prefix(bytes); }
  /// Puts `bytes` behind what is unparsed; they stay where they are until keep(). False: no memory is granted.
  bool add(std::string_view bytes);
  /// After this, nothing refers to the bytes given to add(). False: no memory is granted.
  bool keep();
  void clear();

 private:
  bool reserve(size_t bytes);

  MemoryBudget& budget_;
  MemoryBudget::Lease lease_;  // kept_'s capacity, when that is more than kUncountedBytes
  std::string kept_;
  std::string_view unparsed_;  // the end of kept_, or of the bytes given to add()
  bool borrowed_ = false;      // the latter
};

}  // namespace quern
