// Tokenizer: text <-> token ids, from a Hugging Face tokenizer.json of the byte-level BPE family (Qwen3 and its kin).
//
// Owns the vocabulary, merges and tables (about 25 MB for Qwen3); immutable once shared. Promises the very ids that
// Hugging Face `tokenizers` gives, in time that grows with the text as n log n at worst and memory of its size; what it
// does not implement it refuses at load, naming the file and the field. encode() and decode(): any thread, many at
// once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/truncation.h"

namespace quern {

struct EncodeOptions {
  bool add_special_tokens = true;                          // append the end token
  size_t tokens_max = std::numeric_limits<size_t>::max();  // the end token counts
  Truncation truncation = Truncation::kNone;
};

/// Whose normalizer, pattern and ignore_merges count.
enum class TextRules {
  kOfFile,
  kQwen2,  // transformers' Qwen2Tokenizer has its own, whatever tokenizer.json says
};

struct TokenizerTables;

class Tokenizer {
 public:
  /// From the bytes of a tokenizer.json; `name` stands for the file in messages. kInvalidArgument when it is not one we
  /// implement.
  static Result<Tokenizer> from_json(std::string_view json, const std::string& name,
                                     TextRules rules = TextRules::kOfFile);

  /// Appends `id` from now on, where the file's post_processor appends no end token. Before the tokenizer is shared.
  Result<void> append_eos(int32_t id);

  /// The ids of `utf8`, then the end token where appends_eos(), even where the text is cut; a text that ends in that
  /// token's own spelling has it twice, as in the reference. A cut text has the very ids of the whole one, cut, but
  /// only as much of it is read as they need. kInvalidArgument: invalid UTF-8 (names the byte), too long (names limit
  /// and length; a text that is too long by its bytes alone is not tokenized), no room for the end token.
  Result<std::vector<int32_t>> encode(std::string_view utf8, const EncodeOptions& options = {}) const;
  /// The ids of `prompt` and `text` written one after the other.
  Result<std::vector<int32_t>> encode(std::string_view prompt, std::string_view text,
                                      const EncodeOptions& options) const;
  /// A text of this many bytes has at least so many tokens, the end token not counted.
  size_t min_tokens(size_t bytes) const;

  /// The text of `ids`; bytes that are not UTF-8 become U+FFFD. kInvalidArgument: an id without a token.
  Result<std::string> decode(std::span<const int32_t> ids, bool skip_special = true) const;

  /// The id of a token by its bytes, an added token's by its text.
  std::optional<int32_t> token_to_id(std::string_view bytes) const;
  /// The id of an added token, which is found in a text before it is split.
  std::optional<int32_t> added_token_to_id(std::string_view text) const;
  /// The bytes that an id stands for (perhaps part of a character); nothing for an id without a token.
  std::optional<std::string> id_to_token(int32_t id) const;
  /// One more than the largest id, added tokens included.
  size_t vocab_size() const;
  /// The end token that encode() appends, if any: what the file's post_processor says, or append_eos().
  std::optional<int32_t> eos_id() const { return eos_id_; }
  bool appends_eos() const { return eos_id_.has_value(); }

 private:
  explicit Tokenizer(std::shared_ptr<const TokenizerTables> tables);
  std::shared_ptr<const TokenizerTables> tables_;
  std::optional<int32_t> eos_id_;
};

}  // namespace quern
