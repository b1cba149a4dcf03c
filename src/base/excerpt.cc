#include "base/excerpt.h"

#include <algorithm>

namespace quern {

// Length of the valid UTF-8 sequence at the start of `text`, 0 when there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead >= 0x80 && (lead < 0xC2 || lead > 0xF4)) return 0;
  if (text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
  if (lead == 0xED && byte(1) > 0x9F) return 0;  // surrogate
  if (lead == 0xF0 && byte(1) < 0x90) return 0;  // overlong
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;  // above U+10FFFF
  return length;
}

size_t valid_utf8_bytes(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = utf8_length(text.substr(at));
    if (length == 0) break;
    at += length;
  }
  return at;
}

std::string excerpt(std::string_view text) {
  // Nearly every text is short and plain, and each request's method and path come by here.
  const auto plain = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (text.size() <= kExcerptBytesMax && std::ranges::all_of(text, plain)) return std::string(text);

  std::string out;
  size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    const size_t length = utf8_length(text.substr(i));
    const bool shown = length > 0 && c >= 0x20 && c != 0x7f;
    const size_t bytes = shown ? length : 3;
    if (out.size() + bytes > kExcerptBytesMax) return out + "...";
    if (shown) {
      out.append(text.substr(i, length));
    } else {
      out.append("\xEF\xBF\xBD");
    }
    i += length == 0 ? 1 : length;
  }
  return out;
}

void append_json_escaped(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  size_t plain_begin = 0;
  size_t i = 0;
  const auto flush_plain = [&] { out.append(text.substr(plain_begin, i - plain_begin)); };
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
      ++i;
      continue;
    }
    if (c >= 0x80) {
      const size_t length = utf8_length(text.substr(i));
      if (length > 0) {
        i += length;
        continue;
      }
    }
    flush_plain();
    if (c >= 0x80) {
      out.append("\xEF\xBF\xBD");
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out.append("\\n");
    } else {
      out.append("\\u00");
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
    }
    plain_begin = ++i;
  }
  flush_plain();
}

}  // namespace quern
