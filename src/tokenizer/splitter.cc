#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/splitter.h"

#include <pcre2.h>

#include <new>

#include "tokenizer/unicode.h"

namespace quern {
namespace {

// The family differs only in how many digits make a word: 1 for Qwen, up to 3 for GPT-4 and Llama 3.
constexpr std::string_view kFamilyHead = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
constexpr std::string_view kFamilyTail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kThreeDigits = "{1,3}";

size_t family_digits_max(std::string_view pattern) {
  if (!pattern.starts_with(kFamilyHead) || !pattern.ends_with(kFamilyTail)) return 0;
  if (pattern.size() < kFamilyHead.size() + kFamilyTail.size()) return 0;
  pattern.remove_prefix(kFamilyHead.size());
  pattern.remove_suffix(kFamilyTail.size());
  return pattern.empty() ? 1 : pattern == kThreeDigits ? 3 : 0;
}

/// Walks over code points of one text with their classes.
struct Scanner {
  std::string_view text;
  const uint8_t* flags = unicode_flags();

  CharClass class_at(size_t at, size_t& next) const {
    next = at;
    return static_cast<CharClass>(flags[next_code_point(text, next)] & kClassMask);
  }
  size_t run(size_t at, CharClass wanted) const {
    size_t next;
    while (at < text.size() && class_at(at, next) == wanted) at = next;
    return at;
  }
  static bool is_newline(char c) { return c == '\r' || c == '\n'; }
  size_t newlines(size_t at) const {
    while (at < text.size() && is_newline(text[at])) ++at;
    return at;
  }
  char lower_at(size_t at) const { return at < text.size() ? static_cast<char>(text[at] | 0x20) : '\0'; }

  /// (?i:'s|'t|'re|'ve|'m|'ll|'d) at an apostrophe: the end, or `at` when it does not match.
  size_t contraction(size_t at) const {
    const char first = lower_at(at + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    const char second = lower_at(at + 2);
    if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
    if (first == 'l' && second == 'l') return at + 3;
    // U+017F, the long s, is an s to a caseless match.
    if (text.substr(at + 1).starts_with("\xC5\xBF")) return at + 3;
    return at;
  }

  /// \s*[\r\n]+ | \s+(?!\S) | \s+ where a whitespace run starts.
  size_t whitespace(size_t at) const {
    size_t after_newline = at;  // past the last newline of the run
    size_t last = at;           // where the last character of the run starts
    size_t end = at;
    for (size_t next; end < text.size() && class_at(end, next) == CharClass::kSpace; end = next) {
      last = end;
      if (is_newline(text[end])) after_newline = next;
    }
    if (after_newline != at) return after_newline;
    return end == text.size() || last == at ? end : last;
  }
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR message[256];
  pcre2_get_error_message(code, message, sizeof message);
  return reinterpret_cast<const char*>(message);
}

// What one thread needs to run a match; big enough for a long word under a pattern that backtracks.
constexpr size_t kJitStackBytesMin = 32 << 10;
constexpr size_t kJitStackBytesMax = 16 << 20;

template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};

struct MatchScratch {
  std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Freed<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(kJitStackBytesMin, kJitStackBytesMax, nullptr)};
  MatchScratch() {
    if (!data || !context || !stack) throw std::bad_alloc();
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

}  // namespace

struct Splitter::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

Result<Splitter> Splitter::make(const std::string& pattern) {
  Splitter splitter;
  splitter.digits_max_ = family_digits_max(pattern);
  if (splitter.scans()) return splitter;
  return make_pcre2(pattern);
}

Result<Splitter> Splitter::make_pcre2(const std::string& pattern) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  auto compiled = std::make_shared<Compiled>();
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
  if (compiled->code == nullptr) {
    return invalid_argument("regex does not compile at byte " + std::to_string(offset) + ": " + pcre2_message(code));
  }
  pcre2_jit_compile(compiled->code,
                    PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter gives the same answers
  Splitter splitter;
  splitter.compiled_ = std::move(compiled);
  return splitter;
}

size_t Splitter::scan(std::string_view text, size_t at) const {
  const Scanner scanner{text};
  if (text[at] == '\'') {
    const size_t end = scanner.contraction(at);
    if (end != at) return end;
  }
  size_t next;
  const CharClass first = scanner.class_at(at, next);
  if (first == CharClass::kLetter) return scanner.run(next, CharClass::kLetter);
  if (first == CharClass::kNumber) {
    size_t end = next;
    for (size_t digits = 1; digits < digits_max_ && end < text.size(); ++digits, end = next) {
      if (scanner.class_at(end, next) != CharClass::kNumber) break;
    }
    return end;
  }
  const bool at_end = next == text.size();
  size_t after = next;
  const CharClass second = at_end ? CharClass::kSpace : scanner.class_at(next, after);
  if (second == CharClass::kLetter && !Scanner::is_newline(text[at])) return scanner.run(after, CharClass::kLetter);
  if (first == CharClass::kOther) return scanner.newlines(scanner.run(next, CharClass::kOther));
  if (text[at] == ' ' && second == CharClass::kOther) return scanner.newlines(scanner.run(after, CharClass::kOther));
  return scanner.whitespace(at);
}

size_t Splitter::sure_words_end(std::string_view text) {
  // A word is chosen by what stands up to the character after it; of whitespace, up to the first that is none.
  const Scanner scanner{text};
  for (size_t at = text.size(), next; at > 0;) {
    at = previous_code_point(text, at);
    if (scanner.class_at(at, next) != CharClass::kSpace) return at;
  }
  return 0;
}

size_t Splitter::sure_end(std::string_view text, size_t at) const {
  if (Scanner{text}.run(at, CharClass::kSpace) != text.size()) return scan(text, at);
  // Whitespace up to the end: the word ends at a newline, the last there will be, or else before the last whitespace.
  const size_t newline = text.find_last_of("\r\n");
  if (newline != text.npos && newline >= at) return newline + 1;
  return previous_code_point(text, text.size());
}

// True when a word ends between these two neighbours, whatever surrounds them.
bool Splitter::is_border(char32_t before, char32_t after) const {
  const auto class_of = [flags = unicode_flags()](char32_t c) { return static_cast<CharClass>(flags[c] & kClassMask); };
  const CharClass left = class_of(before), right = class_of(after);
  if (left == CharClass::kLetter) return right != CharClass::kLetter;
  if (left == CharClass::kNumber && right == CharClass::kNumber) return digits_max_ == 1;
  return (left == CharClass::kNumber) != (right == CharClass::kNumber);
}

// Inside a run of one class a word goes on to where the run says, but for these: a contraction ends at most two letters
// behind its apostrophe; the last of a run may belong to the letters behind it; newlines behind punctuation are its own
// up to the first that is none, those of other whitespace up to the last.
Splitter::Place Splitter::first_known(std::string_view text, size_t from) const {
  constexpr size_t kLettersBefore = 3;
  const Scanner scanner{text};
  size_t at = 0, next = 0, run = 0;  // `run` characters of class `left` end at `at`
  CharClass left = CharClass::kOther;
  char32_t before = 0;
  if (from > 0) from = previous_code_point(text, from);
  for (size_t back = 0; back < kLettersBefore && from > 0; ++back) from = previous_code_point(text, from);
  for (at = from; at < text.size(); at = next) {
    next = at;
    const char32_t after = next_code_point(text, next);
    size_t end = at;
    const CharClass right = scanner.class_at(at, end);
    if (run > 0 && is_border(before, after)) return {at, false};
    if (run > 0 && left == right && right != CharClass::kNumber) {
      size_t beyond = next;
      const bool goes_on = next < text.size() && scanner.class_at(next, beyond) == right;
      if (right == CharClass::kLetter ? run >= kLettersBefore : goes_on) {
        const bool newlines = right == CharClass::kSpace && before < 0x80 && Scanner::is_newline(char(before)) &&
                              Scanner::is_newline(text[at]);
        const size_t after_newlines = newlines ? scanner.newlines(at) : at;
        if (!newlines || after_newlines == text.size()) return {at, true};
        if (scanner.class_at(after_newlines, end) != CharClass::kSpace) return {at, true};
        next = after_newlines;  // the character before it is a newline
      }
    }
    run = left == right ? run + 1 : 1;
    left = right;
    before = next == end ? after : U'\n';
  }
  return {text.size(), false};
}

Result<size_t> Splitter::match(std::string_view text, size_t at) const {
  static thread_local MatchScratch scratch;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t from = at;
  while (from < text.size()) {
    const int found = pcre2_match(compiled_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, scratch.data.get(),
                                  scratch.context.get());
    if (found == PCRE2_ERROR_NOMATCH) return text.size();
    if (found == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
    if (found < 0) {
      return invalid_argument("pre_tokenizer regex gave up at byte " + std::to_string(from) + " of " +
                              std::to_string(text.size()) + ": " + pcre2_message(found));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data.get());
    if (bounds[0] > at) return static_cast<size_t>(bounds[0]);  // the gap is a word of its own
    if (bounds[1] > at) return static_cast<size_t>(bounds[1]);
    next_code_point(text, from);  // an empty match cuts nothing here
  }
  return text.size();
}

}  // namespace quern
