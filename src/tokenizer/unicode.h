// Unicode as Hugging Face `tokenizers` sees it: character classes of its regex engine, NFC of its normalizer.
//
// Owns the tables (built once, 1.1 MB, immutable). Promises the answers of `tokenizers`, which follow Unicode versions
// of their own (see tests/tokenizer/make_unicode_tables.py), whatever PCRE2 or utf8proc is installed. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quern {

enum class CharClass : uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 3 };

/// One byte per code point: the class in the two low bits, then the flags below.
const uint8_t* unicode_flags();
constexpr uint8_t kClassMask = 3;
constexpr uint8_t kHasCombiningClass = 4;  // canonical combining class is not 0
constexpr uint8_t kMayChangeInNfc = 8;     // decomposes in NFC, or may compose with what stands before it
constexpr uint8_t kDecomposes = 16;
/// Before a character without any of these, NFC can be cut: what stands on either side changes without the other.
constexpr uint8_t kNfcJoins = kHasCombiningClass | kMayChangeInNfc;
/// NFC makes text less than this many times shorter: U+1FBE U+0308 U+0301, 7 bytes, become U+0390, 2 bytes.
constexpr size_t kNfcShrinkMax = 4;

/// Where the code point begins that the byte before `at` belongs to. `text` is valid UTF-8, at > 0.
inline size_t previous_code_point(std::string_view text, size_t at) {
  do --at;
  while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

/// Decodes the code point at `text[at]` and moves `at` past it. `text` must be valid UTF-8 and `at` inside it.
inline char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char lead = byte(0);
  char32_t code_point = lead;
  size_t width = 1;
  if (lead >= 0xF0) {
    code_point = (lead & 7u) << 18 | (byte(1) & 63u) << 12 | (byte(2) & 63u) << 6 | (byte(3) & 63u);
    width = 4;
  } else if (lead >= 0xE0) {
    code_point = (lead & 15u) << 12 | (byte(1) & 63u) << 6 | (byte(2) & 63u);
    width = 3;
  } else if (lead >= 0x80) {
    code_point = (lead & 31u) << 6 | (byte(1) & 63u);
    width = 2;
  }
  at += width;
  return code_point;
}

void append_utf8(std::string& out, char32_t code_point);

/// Bytes of the longest valid UTF-8 prefix; text.size() when all of it is valid.
size_t valid_utf8_prefix(std::string_view text);

/// `text` with each maximal ill-formed part replaced by U+FFFD (Unicode 15, section 3.9, table 3-8).
std::string replace_invalid_utf8(std::string_view text);

/// Up to where NFC of `text` is known whatever follows: NFC(text) begins with NFC of that part. 0 when nothing is sure.
size_t nfc_stable_prefix(std::string_view text);

/// NFC (UAX #15). Returns `text` itself when it is in NFC already, else a view of `buffer`. `text` must be valid UTF-8.
/// Time linear in the text.
std::string_view to_nfc(std::string_view text, std::string& buffer);

}  // namespace quern
