// Tokenizer: text <-> token ids, from a Hugging Face tokenizer.json of the byte-level BPE family (Qwen3 and its kin).
//
// Owns the vocabulary, merges and tables (about 25 MB for Qwen3); immutable after load. Promises the very ids that
// Hugging Face `tokenizers` gives, in time that grows with the text as n log n at worst; whatever it does not implement
// it refuses at load, naming the file and the field. encode() and decode(): any thread, many at once.
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
  bool add_special_tokens = true;                          // append the end-of-sequence token
  size_t tokens_max = std::numeric_limits<size_t>::max();  // the end-of-sequence token counts
  Truncation truncation = Truncation::kNone;
};

struct LoadOptions {
  /// Appended where the file's post_processor appends nothing (config.json's eos_token_id); ignored where it does.
  std::optional<int32_t> eos_id;
};

struct TokenizerTables;

class Tokenizer {
 public:
  /// Loads a tokenizer.json. kNotFound when it cannot be read, kInvalidArgument when it is not one we implement.
  static Result<Tokenizer> load(const std::string& path, const LoadOptions& options = {});
  /// The same from memory; `name` stands for the file in messages.
  static Result<Tokenizer> from_json(std::string_view json, const std::string& name, const LoadOptions& options = {});

  /// The ids of `utf8`; the end-of-sequence token exactly once, last, even where the text is cut. kInvalidArgument:
  /// invalid UTF-8 (names the byte), too long (names limit and length), no room for the end-of-sequence token.
  Result<std::vector<int32_t>> encode(std::string_view utf8, const EncodeOptions& options = {}) const;

  /// The text of `ids`; bytes that are not UTF-8 become U+FFFD. kInvalidArgument: an id without a token.
  Result<std::string> decode(std::span<const int32_t> ids, bool skip_special = true) const;

  /// The token that stands for these bytes (" the", "<|im_end|>"), if there is one.
  std::optional<int32_t> token_to_id(std::string_view bytes) const;
  /// The bytes that an id stands for (perhaps part of a character); nothing for an id without a token.
  std::optional<std::string> id_to_token(int32_t id) const;
  /// One more than the largest id, added tokens included.
  size_t vocab_size() const;
  /// The token that encode() appends, if any.
  std::optional<int32_t> eos_id() const;

 private:
  explicit Tokenizer(std::shared_ptr<const TokenizerTables> tables) : tables_(std::move(tables)) {}
  std::shared_ptr<const TokenizerTables> tables_;
};

}  // namespace quern
