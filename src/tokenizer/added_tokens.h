// AddedTokens: tokens that are found in the text before it is split into words (<|im_end|>, <think>, ...).
//
// Owns the contents to search for. Promises the leftmost match, the longest among those, as `tokenizers` does.
// Immutable once built; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

class AddedTokens {
 public:
  struct Match {
    size_t begin;
    size_t end;
    int32_t id;  // -1: none; begin and end are then the text's size
  };

  /// `content` is not empty. Contents that are equal keep the first id.
  void add(std::string_view content, int32_t id);
  Match find(std::string_view text, size_t from) const;
  bool empty() const { return count_ == 0; }
  /// Bytes of the longest content, 0 when there is none.
  size_t longest() const { return longest_; }
  /// True when a content stands in `text` with `at` inside it.
  bool spans(std::string_view text, size_t at) const;

 private:
  struct Entry {
    std::string content;
    int32_t id;
  };
  std::array<std::vector<Entry>, 256> by_first_byte_;  // each longest first
  size_t count_ = 0;
  size_t longest_ = 0;
};

}  // namespace quern
