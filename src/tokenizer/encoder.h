// Encoder: the steps from text to ids, for one call of Tokenizer::encode().
//
// Owns the ids so far and a buffer for NFC. Promises to stop early: when there are enough ids, when there are sure to
// be too many, or, where the text given is only the beginning of one, at the last id that is sure however it goes on.
// One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/word_cache.h"

namespace quern {

/// Whether a text is all there is, or may go on.
enum class Ending { kClosed, kOpen };

class Encoder {
 public:
  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

  /// Stops at `ids_enough` ids, perhaps a word's more; and where the bytes at hand make more than `ids_max`.
  explicit Encoder(const TokenizerTables& tables, size_t ids_enough = kNoLimit, size_t ids_max = kNoLimit);

  /// `text` is valid UTF-8. kOpen only where can_stop_early().
  Result<void> add_text(std::string_view text, Ending ending);
  std::vector<int32_t>& ids() { return ids_; }
  /// There are, or would have been, at least this many ids; above `ids_max` when that stopped it.
  size_t ids_at_least() const { return ids_at_least_ > ids_.size() ? ids_at_least_ : ids_.size(); }

 private:
  bool stopped() const { return ids_.size() >= ids_enough_ || ids_at_least_ > ids_max_; }
  template <typename AddGap>
  Result<void> around(const AddedTokens& tokens, std::string_view text, Ending ending, AddGap add_gap);
  Result<void> add_words(std::string_view text, Ending ending);
  void add_sure_words(std::string_view text);
  void add_word(std::string_view word);

  const TokenizerTables& tables_;
  const size_t ids_enough_;
  const size_t ids_max_;
  size_t ids_at_least_ = 0;
  WordCache& cache_;
  std::vector<int32_t> ids_;
  std::string buffer_;
};

/// True when parts of a text can be encoded by themselves: where the pattern of words is one that the scanner knows.
bool can_stop_early(const TokenizerTables& tables);

/// The last place in `text` at or before `before` from which on its ids are those of the rest alone; 0 when there is
/// none. Needs can_stop_early().
size_t last_independent_start(const TokenizerTables& tables, std::string_view text, size_t before);

}  // namespace quern
