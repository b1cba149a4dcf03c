// Splitter: cuts normalized text into the words that BPE works on.
//
// Owns the compiled pattern. Two forms: a hand-written scanner for the Qwen / GPT-4 family of patterns, linear in the
// text, and PCRE2 (JIT, UTF, UCP) for any other. Immutable; any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace quern {

class Splitter {
 public:
  /// `pattern` as in tokenizer.json's Split(Regex, Isolated). Fails when PCRE2 cannot compile it.
  static Result<Splitter> make(const std::string& pattern);
  /// The same pattern, through PCRE2 even where the scanner knows it: the oracle of the tests.
  static Result<Splitter> make_pcre2(const std::string& pattern);

  /// The end of the word that starts at `at`; text between two matches is a word too. `text` is valid UTF-8, at < size.
  /// Only PCRE2 can fail: the pattern needs more work than its limits allow on this text.
  Result<size_t> word_end(std::string_view text, size_t at) const {
    if (digits_max_ != 0) return scan(text, at);
    return match(text, at);
  }

  /// True when the scanner serves this pattern: callers may then use scan(), which cannot fail.
  bool scans() const { return digits_max_ != 0; }
  size_t scan(std::string_view text, size_t at) const;

  // What follows is for patterns that scan().

  /// `text` may go on. From which byte on the end of a word is not sure: words that end up to there stay as they are.
  static size_t sure_words_end(std::string_view text);
  /// `text` may go on and a word starts at `at`, with its end beyond sure_words_end(). How far it goes at least.
  size_t sure_end(std::string_view text, size_t at) const;
  /// A place in a text whose beginning is missing. From it on words are those of the whole text: the first one's end is
  /// where scan() says, its beginning is there, or somewhere before where it is `inside` a word.
  struct Place {
    size_t at;
    bool inside;
  };
  /// The first such place at or after `from`; the text's size when there is none.
  Place first_known(std::string_view text, size_t from) const;

 private:
  struct Compiled;
  Splitter() = default;
  Result<size_t> match(std::string_view text, size_t at) const;
  bool is_border(char32_t before, char32_t after) const;

  size_t digits_max_ = 0;  // the k of \p{N}{1,k}; 0: not a pattern of the family
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace quern
