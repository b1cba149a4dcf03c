// Encoder: the steps from text to ids, for one call of Tokenizer::encode().
//
// Owns the ids so far and a buffer for NFC. Promises to stop early: when there are enough ids, when there are sure to
// be too many, or, where the text given is only the beginning of one, at the last id that is sure however it goes on;
// or to begin late, where only the last ids are wanted. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/splitter.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/word_cache.h"

namespace quern {

/// Whether a text is all there is, or may go on.
enum class Ending { kClosed, kOpen };

class Encoder {
 public:
  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

  // How much of a text that is to be cut is read at first, for each token to keep and beside.
  static constexpr size_t kTokenBytes = 8;
  static constexpr size_t kBytesBeside = 4096;

  /// Stops at `ids_enough` ids, perhaps a word's more; and where the bytes at hand make more than `ids_max`.
  explicit Encoder(const TokenizerTables& tables, size_t ids_enough = kNoLimit, size_t ids_max = kNoLimit);

  /// `text` is valid UTF-8. kOpen only where can_stop_early().
  Result<void> add_text(std::string_view text, Ending ending);
  /// Instead, for the ids with which a text ends. `cut`: it is the rest of one, from a last_safe_start() of that. About
  /// the last `bytes` are enough. All of ids() are sure; is_whole() when there are no more of them.
  Result<void> add_ending(std::string_view text, bool cut, size_t bytes);
  bool is_whole() const { return whole_; }
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
  bool stops_within(std::string_view word);
  std::string_view add_known_ending(std::string_view text, size_t from);

  const TokenizerTables& tables_;
  const size_t ids_enough_;
  const size_t ids_max_;
  size_t ids_at_least_ = 0;
  size_t stretch_bytes_ = kNoLimit;  // of a stretch between added tokens, read from its end
  bool cut_ = false;                 // the text before what comes next is missing
  bool whole_ = true;
  WordCache& cache_;
  std::vector<int32_t> ids_;
  std::string buffer_;
};

/// True when parts of a text can be encoded by themselves: where the pattern of words is one that the scanner knows.
bool can_stop_early(const TokenizerTables& tables);

/// The last place in `text` at or before `before` where it can be cut for add_ending(): no added token spans it, and
/// NFC does not look across. 0 when there is none. Needs can_stop_early().
size_t last_safe_start(const TokenizerTables& tables, std::string_view text, size_t before);

}  // namespace quern
