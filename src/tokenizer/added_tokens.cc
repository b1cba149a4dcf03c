#include "tokenizer/added_tokens.h"

#include <algorithm>

namespace quern {
void AddedTokens::add(std::string_view content, int32_t id) {
  std::vector<Entry>& entries = by_first_byte_[static_cast<unsigned char>(content.front())];
  const auto at = std::find_if(entries.begin(), entries.end(),
                               [&](const Entry& entry) { return entry.content.size() < content.size(); });
  entries.insert(at, Entry{std::string(content), id});
  ++count_;
  longest_ = std::max(longest_, content.size());
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

bool AddedTokens::spans(std::string_view text, size_t at) const {
  for (size_t begin = at - std::min(at, std::max<size_t>(longest_, 1) - 1); begin < at; ++begin) {
    for (const Entry& entry : by_first_byte_[static_cast<unsigned char>(text[begin])]) {
      if (begin + entry.content.size() > at && text.substr(begin).starts_with(entry.content)) return true;
    }
  }
  return false;
}

}  // namespace quern
