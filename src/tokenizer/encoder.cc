#include "tokenizer/encoder.h"

#include <algorithm>
#include <utility>

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

Result<void> Encoder::add_ending(std::string_view text, bool cut, size_t bytes) {
  stretch_bytes_ = bytes;
  cut_ = cut;
  whole_ = !cut;
  return add_text(text, Ending::kClosed);
}

/// Adds the tokens found in `text`, and what stands between them through `add_gap`.
template <typename AddGap>
Result<void> Encoder::around(const AddedTokens& tokens, std::string_view text, Ending ending, AddGap add_gap) {
  // In the last bytes of an open text a token may begin, or a longer one than is found there now.
  const size_t unsure = ending == Ending::kOpen && !tokens.empty() ? tokens.longest() - 1 : 0;
  const size_t sure_end = whole_characters(text, text.size() - std::min(text.size(), unsure));
  // Where what stands before is missing, a token that began there may reach some bytes into the text.
  size_t begin = cut_ && &tokens == &tables_.normalized_added && !tokens.empty() ? tokens.longest() - 1 : 0;
  begin = whole_characters(text, std::min(begin, text.size()));
  while (begin > 0 && begin < text.size() && tokens.spans(text, begin)) next_code_point(text, begin);
  for (size_t at = begin; at < sure_end && !stopped();) {
    const AddedTokens::Match match = tokens.find(text, at);
    if (ending == Ending::kOpen && match.begin >= sure_end) {
      return add_gap(text.substr(at, sure_end - at), Ending::kOpen);
    }
    if (match.begin > at) {
      if (auto ok = add_gap(text.substr(at, match.begin - at), Ending::kClosed); !ok) return ok;
    }
    if (match.id >= 0 && !stopped()) ids_.push_back(match.id);
    cut_ = false;
    at = match.end;
  }
  return {};
}

Result<void> Encoder::add_words(std::string_view text, Ending ending) {
  if (ending == Ending::kOpen) return add_sure_words(text), Result<void>();
  const bool cut = std::exchange(cut_, false);
  if (cut || text.size() > stretch_bytes_) {
    text = add_known_ending(text, text.size() - std::min(text.size(), stretch_bytes_));
  }
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

/// Begins anew with what is known of the words from about `from` on; returns the text behind the first of them.
std::string_view Encoder::add_known_ending(std::string_view text, size_t from) {
  ids_.clear();
  whole_ = false;
  const Splitter::Place known = tables_.splitter.first_known(text, from);
  if (!known.inside) return text.substr(known.at);
  const size_t end = tables_.splitter.scan(text, known.at);
  tables_.bpe.encode_ending(text.substr(known.at, end - known.at), ids_);
  return text.substr(end);
}

void Encoder::add_word(std::string_view word) {
  if (word.size() > WordCache::kWordBytesMax) {
    if (!stops_within(word)) tables_.bpe.encode_word(word, ids_);
    return;
  }
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

/// Tries whether the beginning of a long word has enough ids, or too many.
bool Encoder::stops_within(std::string_view word) {
  const size_t wanted = std::min(ids_enough_, ids_max_);
  if (wanted >= word.size()) return false;  // kNoLimit among them
  const size_t bytes = (wanted - std::min(wanted, ids_.size())) * kTokenBytes + kBytesBeside;
  if (word.size() <= 2 * bytes) return false;
  const size_t before = ids_.size();
  tables_.bpe.encode_beginning(word.substr(0, bytes), ids_);
  if (ids_.size() >= ids_enough_) return true;
  if (ids_.size() > ids_max_) return ids_at_least_ = ids_.size() + 1, true;
  ids_.resize(before);
  return false;
}

bool can_stop_early(const TokenizerTables& tables) { return tables.splitter.scans(); }

size_t last_safe_start(const TokenizerTables& tables, std::string_view text, size_t before) {
  const uint8_t* flags = unicode_flags();
  for (size_t at = whole_characters(text, std::min(before, text.size() - 1)); at > 0;
       at = previous_code_point(text, at)) {
    size_t next = at;
    if (tables.nfc && flags[next_code_point(text, next)] & kNfcJoins) continue;
    if (!tables.raw_added.spans(text, at)) return at;
  }
  return 0;
}

}  // namespace quern
