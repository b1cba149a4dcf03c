#include "http/input_buffer.h"

#include <algorithm>

#include "http/request_parser.h"

namespace quern {

bool InputBuffer::add(std::string_view bytes) {
  if (unparsed_.empty()) {
    unparsed_ = bytes;
    borrowed_ = true;
    return true;
  }
  if (!reserve(unparsed_.size() + bytes.size())) return false;
  kept_.append(bytes);
  unparsed_ = kept_;
  return true;
}

bool InputBuffer::keep() {
  if (unparsed_.empty()) return clear(), true;
  if (!borrowed_) return true;
  kept_.clear();
  if (!reserve(unparsed_.size())) return false;
  kept_.assign(unparsed_);
  unparsed_ = kept_;
  borrowed_ = false;
  return true;
}

// Makes room for that many bytes, and moves what is unparsed to its begin when it is kept.
bool InputBuffer::reserve(size_t bytes) {
  const size_t keep_bytes = borrowed_ ? 0 : unparsed_.size();
  if (bytes <= kept_.capacity()) {
    kept_.erase(0, kept_.size() - keep_bytes);
    return true;
  }
  const size_t room = std::max(bytes, 2 * kept_.capacity());
  const auto counted = [](size_t capacity) {
    return static_cast<int64_t>(capacity) > kUncountedBytes ? static_cast<int64_t>(capacity) : 0;
  };
  if (!hold_for_request(budget_, lease_, counted(room) + counted(kept_.capacity()))) return false;
  std::string larger;
  larger.reserve(room);
  if (keep_bytes > 0) larger.append(unparsed_);
  kept_.swap(larger);
  std::string().swap(larger);
  return lease_.resize(counted(kept_.capacity()));
}

void InputBuffer::clear() {
  unparsed_ = {};
  borrowed_ = false;
  kept_.clear();
  if (static_cast<int64_t>(kept_.capacity()) <= kUncountedBytes) return;
  std::string().swap(kept_);
  (void)lease_.resize(0);
}

}  // namespace quern
