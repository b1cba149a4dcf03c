#include "tokenizer/tokenizer.h"

#include <simdjson.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <utility>

#include "tokenizer/tokenizer_json.h"
#include "tokenizer/unicode.h"
#include "tokenizer/word_cache.h"

namespace quern {
namespace {

// Symbols of a word are linked by 32-bit positions.
constexpr size_t kTextBytesMax = (size_t{1} << 31) - 2;

/// One call of encode(): the ids so far, and whether there are enough of them.
class Encoder {
 public:
  Encoder(const TokenizerTables& tables, size_t ids_enough, size_t text_bytes)
      : tables_(tables), ids_enough_(ids_enough), cache_(word_cache()) {
    ids_.reserve(std::min(ids_enough, text_bytes / 3 + 8));
  }

  Result<void> add_text(std::string_view text) {
    return around(tables_.raw_added, text, [&](std::string_view gap) {
      const std::string_view normal = tables_.nfc ? to_nfc(gap, buffer_) : gap;
      return around(tables_.normalized_added, normal, [&](std::string_view rest) { return add_words(rest); });
    });
  }
  std::vector<int32_t> take() { return std::move(ids_); }

 private:
  bool enough() const { return ids_.size() >= ids_enough_; }

  /// Adds the tokens found in `text`, and what stands between them through `add_gap`.
  template <typename AddGap>
  Result<void> around(const AddedTokens& tokens, std::string_view text, AddGap add_gap) {
    for (size_t at = 0; at < text.size() && !enough();) {
      const AddedTokens::Match match = tokens.find(text, at);
      if (match.begin > at) {
        if (auto ok = add_gap(text.substr(at, match.begin - at)); !ok) return ok;
      }
      if (match.id >= 0) ids_.push_back(match.id);
      at = match.end;
    }
    return {};
  }

  Result<void> add_words(std::string_view text) {
    const Splitter& splitter = tables_.splitter;
    for (size_t at = 0, end; at < text.size() && !enough(); at = end) {
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

  void add_word(std::string_view word) {
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

  const TokenizerTables& tables_;
  const size_t ids_enough_;
  WordCache& cache_;
  std::vector<int32_t> ids_;
  std::string buffer_;
};

bool is_special(const TokenizerTables& tables, int32_t id) {
  return std::binary_search(tables.special_ids.begin(), tables.special_ids.end(), id);
}

}  // namespace

Result<Tokenizer> Tokenizer::load(const std::string& path, const LoadOptions& options) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  if (size < 0) return Error{ErrorCode::kNotFound, path + ": cannot be opened", path, 0};
  std::string json(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(json.data(), size)) return Error{ErrorCode::kNotFound, path + ": cannot be read", path, 0};
  return from_json(json, path, options);
}

Result<Tokenizer> Tokenizer::from_json(std::string_view json, const std::string& name, const LoadOptions& options) {
  auto parsed = parse_tokenizer_json(json, name);
  if (!parsed) return parsed.error();
  static std::atomic<uint32_t> serials{0};
  auto tables = std::make_shared<TokenizerTables>(std::move(*parsed));
  tables->serial = ++serials;
  if (!tables->eos_id && options.eos_id) {
    if (!tables->bpe.vocab.has(*options.eos_id)) {
      return invalid_argument(name + ": the end-of-sequence id " + std::to_string(*options.eos_id) +
                              " is not a token of this vocabulary");
    }
    tables->eos_id = options.eos_id;
  }
  return Tokenizer(std::move(tables));
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view utf8, const EncodeOptions& options) const {
  if (utf8.size() > kTextBytesMax) {
    return invalid_argument("text has " + std::to_string(utf8.size()) + " bytes, the limit is " +
                            std::to_string(kTextBytesMax));
  }
  if (!simdjson::validate_utf8(utf8.data(), utf8.size())) {
    return invalid_argument("text is not valid UTF-8 at byte " + std::to_string(valid_utf8_prefix(utf8)));
  }
  const bool append_eos = options.add_special_tokens && tables_->eos_id.has_value();
  const size_t reserved = append_eos ? 1 : 0;
  if (options.tokens_max < reserved) {
    return invalid_argument("tokens_max is 0, which leaves no room for the end-of-sequence token");
  }
  const size_t room = options.tokens_max - reserved;
  // Words do not depend on what follows them, so a text to be cut at its end need not be read to its end.
  const size_t ids_enough = options.truncation == Truncation::kRight ? room : std::numeric_limits<size_t>::max();
  Encoder encoder(*tables_, ids_enough, utf8.size());
  if (auto ok = encoder.add_text(utf8); !ok) return ok.error();
  std::vector<int32_t> ids = encoder.take();
  if (ids.size() > room) {
    if (options.truncation == Truncation::kNone) {
      return invalid_argument("text has " + std::to_string(ids.size() + reserved) + " tokens, the limit is " +
                              std::to_string(options.tokens_max));
    }
    if (options.truncation == Truncation::kLeft) ids.erase(ids.begin(), ids.end() - static_cast<ptrdiff_t>(room));
    ids.resize(room);
  }
  if (append_eos) ids.push_back(*tables_->eos_id);
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!tables_->bpe.vocab.has(ids[i])) {
      return invalid_argument("token " + std::to_string(i) + " has id " + std::to_string(ids[i]) +
                              ", which is not in the vocabulary of " + std::to_string(vocab_size()));
    }
    if (skip_special && is_special(*tables_, ids[i])) continue;
    bytes.append(tables_->bpe.vocab.bytes(ids[i]));
  }
  return replace_invalid_utf8(bytes);
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view bytes) const {
  const int32_t id = tables_->bpe.vocab.find(bytes);
  return id == Vocab::kNone ? std::nullopt : std::optional(id);
}

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const {
  if (!tables_->bpe.vocab.has(id)) return std::nullopt;
  return std::string(tables_->bpe.vocab.bytes(id));
}

size_t Tokenizer::vocab_size() const { return tables_->bpe.vocab.size(); }

std::optional<int32_t> Tokenizer::eos_id() const { return tables_->eos_id; }

}  // namespace quern
