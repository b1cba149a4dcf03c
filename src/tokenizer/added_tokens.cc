#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace quern {
namespace {

uint64_t pair_of(char32_t left, char32_t right) { return uint64_t{left} << 32 | right; }

}  // namespace

void AddedTokens::add(std::string_view content, int32_t id) {
  std::vector<Entry>& entries = by_first_byte_[static_cast<unsigned char>(content.front())];
  const auto at = std::find_if(entries.begin(), entries.end(),
                               [&](const Entry& entry) { return entry.content.size() < content.size(); });
  entries.insert(at, Entry{std::string(content), id});
  ++count_;
  longest_ = std::max(longest_, content.size());
  size_t next = 0;
  for (char32_t left = next_code_point(content, next); next < content.size();) {
    const char32_t right = next_code_point(content, next);
    const uint64_t pair = pair_of(left, right);
    const auto place = std::lower_bound(pairs_.begin(), pairs_.end(), pair);
    if (place == pairs_.end() || *place != pair) pairs_.insert(place, pair);
    left = right;
  }
}

AddedTokens::Match AddedTokens::find(std::string_view text, size_t from) const {
  if (empty()) return {text.size(), text.size(), -1};
  for (size_t at = from; at < text.size(); ++at) {
    for (const Entry& entry : by_first_byte_[static_cast<unsigned char>(text[at])]) {
      if (text.substr(at).starts_with(entry.content)) return {at, at + entry.content.size(), entry.id};
    }
  }
  return {text.size(), text.size(), -1};
}

bool AddedTokens::has_pair(char32_t left, char32_t right) const {
  return std::binary_search(pairs_.begin(), pairs_.end(), pair_of(left, right));
}

}  // namespace quern
