#include "tokenizer/encoder.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace quern {
namespace {

size_t ceil_div(size_t a, size_t b) { return a / b + (a % b != 0); }

/// The end of the last whole character of text[0..end).
size_t whole_characters(std::string_view text, size_t end) {
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

}  // namespace

Encoder::Encoder(const TokenizerTables& tables, size_t ids_enough, size_t ids_max)
    : tables_(tables), ids_enough_(ids_enough), ids_max_(ids_max), cache_(word_cache()) {}

Result<void> Encoder::add_text(std::string_view text, Ending ending) {
  ids_.reserve(std::min(ids_enough_, text.size() / 3 + 8));
  return around(tables_.raw_added, text, ending, [&](std::string_view gap, Ending gap_ending) {
    if (tables_.nfc && gap_ending == Ending::kOpen) gap = gap.substr(0, nfc_stable_prefix(gap));
    const std::string_view normal = tables_.nfc ? to_nfc(gap, buffer_) : gap;
    return around(tables_.normalized_added, normal, gap_ending,
                  [&](std::string_view rest, Ending rest_ending) { return add_words(rest, rest_ending); });
  });
}

/// Adds the tokens found in `text`, and what stands between them through `add_gap`.
template <typename AddGap>
Result<void> Encoder::around(const AddedTokens& tokens, std::string_view text, Ending ending, AddGap add_gap) {
  // In the last bytes of an open text a token may begin, or a longer one than is found there now.
  const size_t unsure = ending == Ending::kOpen && !tokens.empty() ? tokens.longest() - 1 : 0;
  const size_t sure_end = whole_characters(text, text.size() - std::min(text.size(), unsure));
  for (size_t at = 0; at < sure_end && !stopped();) {
    const AddedTokens::Match match = tokens.find(text, at);
    if (ending == Ending::kOpen && match.begin >= sure_end) {
      return add_gap(text.substr(at, sure_end - at), Ending::kOpen);
    }
    if (match.begin > at) {
      if (auto ok = add_gap(text.substr(at, match.begin - at), Ending::kClosed); !ok) return ok;
    }
    if (match.id >= 0 && !stopped()) ids_.push_back(match.id);
    at = match.end;
  }
  return {};
}

Result<void> Encoder::add_words(std::string_view text, Ending ending) {
  if (ending == Ending::kOpen) return add_sure_words(text), Result<void>();
  ids_at_least_ = ids_.size() + ceil_div(text.size(), tables_.bpe.token_bytes_max);
  const Splitter& splitter = tables_.splitter;
  for (size_t at = 0, end; at < text.size() && !stopped(); at = end) {
    if (splitter.scans()) {
      end = splitter.scan(text, at);
    } else {
      auto found = splitter.word_end(text, at);
      if (!found) return found.error();
      end = *found;
    }
    add_word(text.substr(at, end - at));
  }
  return {};
}

/// The words of an open text; of the last one, the ids with which it is sure to begin.
void Encoder::add_sure_words(std::string_view text) {
  const size_t sure = Splitter::sure_words_end(text);
  for (size_t at = 0, end; at < text.size() && !stopped(); at = end) {
    end = tables_.splitter.scan(text, at);
    if (end > sure) {
      end = tables_.splitter.sure_end(text, at);
      return tables_.bpe.encode_beginning(text.substr(at, end - at), ids_);
    }
    add_word(text.substr(at, end - at));
  }
}

void Encoder::add_word(std::string_view word) {
  if (word.size() > WordCache::kWordBytesMax) return tables_.bpe.encode_word(word, ids_);
  WordCache::Entry& entry = cache_.entry(word);
  if (WordCache::holds(entry, tables_.serial, word)) {
    ids_.insert(ids_.end(), entry.id, entry.id + entry.ids);
    return;
  }
  const size_t before = ids_.size();
  tables_.bpe.encode_word(word, ids_);
  const size_t count = ids_.size() - before;
  if (count <= WordCache::kWordIdsMax) WordCache::put(entry, tables_.serial, word, ids_.data() + before, count);
}

bool can_stop_early(const TokenizerTables& tables) { return tables.splitter.scans(); }

size_t last_independent_start(const TokenizerTables& tables, std::string_view text, size_t before) {
  const uint8_t* flags = unicode_flags();
  const auto char_at = [&](size_t at) { return next_code_point(text, at); };
  for (size_t at = whole_characters(text, std::min(before, text.size() - 1)); at > 0;) {
    const char32_t right = char_at(at);
    const size_t begin = at;
    at = previous_code_point(text, at);
    const char32_t left = char_at(at);
    // The two stand side by side in NFC as well, a word ends between them, and no added token spans them.
    if (tables.nfc && ((flags[left] | flags[right]) & kNfcMoves)) continue;
    if (!Splitter::is_border(left, right)) continue;
    if (!tables.raw_added.has_pair(left, right) && !tables.normalized_added.has_pair(left, right)) return begin;
  }
  return 0;
}

}  // namespace quern
