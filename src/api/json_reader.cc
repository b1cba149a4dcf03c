#include "api/json_reader.h"

#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <cstring>

#include "base/ascii.h"
#include "base/excerpt.h"

namespace quern {

namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr double kIntegerRealMax = 9e15;  // below 2^53: every integer up to here is a double of its own

bool is_plain(unsigned char c) { return c >= 0x20 && c != '"' && c != '\\'; }

// True when some byte of the word is a control character, a quote or a backslash (Mycroft's test, exact for "some").
bool some_special(uint64_t word) {
  constexpr uint64_t kOnes = 0x0101010101010101ULL;
  constexpr uint64_t kHighs = 0x8080808080808080ULL;
  const auto some_zero = [](uint64_t w) { return (w - kOnes) & ~w & kHighs; };
  const uint64_t control = (word - kOnes * 0x20) & ~word & kHighs;
  return (control | some_zero(word ^ kOnes * '"') | some_zero(word ^ kOnes * '\\')) != 0;
}

bool is_high_half(uint32_t unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool is_low_half(uint32_t unit) { return unit >= 0xDC00 && unit < 0xE000; }

char* write_utf8(char* to, uint32_t code) {
  const auto put = [&to](uint32_t byte) { *to++ = static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
  return to;
}

}  // namespace

std::string_view json_kind_name(JsonKind kind) {
  constexpr std::string_view kNames[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
  return kNames[static_cast<int>(kind)];
}

JsonReader::JsonReader(std::string& text, int depth_max, std::string_view what)
    : text_(text), depth_max_(depth_max), what_(what) {
  if (text.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
  if (!simdjson::validate_utf8(text.data(), text.size())) {
    fail(invalid_argument(std::string(what_) + " is not valid UTF-8 at byte " + std::to_string(valid_utf8_bytes(text)) +
                          "."));
  }
}

bool JsonReader::fail(Error error) {
  if (!failed_) error_ = std::move(error);
  failed_ = true;
  return false;
}

bool JsonReader::expected(std::string_view wanted) {
  if (failed_) return false;
  std::string message(what_);
  message.append(" is not valid JSON: expected ").append(wanted).append(" at byte ").append(std::to_string(at_));
  if (at_ >= text_.size()) {
    message.append(", found the end.");
  } else {
    const std::string_view rest = std::string_view(text_).substr(at_);
    message.append(", found '").append(excerpt(rest.substr(0, std::max<size_t>(1, utf8_length(rest))))).append("'.");
  }
  return fail(invalid_argument(std::move(message)));
}

void JsonReader::skip_space() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
    ++at_;
}

bool JsonReader::open(char bracket) {
  if (failed_) return false;
  skip_space();
  if (here() != bracket) return expected(std::string("'") + bracket + "'");
  if (depth_ == depth_max_) {
    return fail(invalid_argument(std::string(what_) + " nests deeper than " + std::to_string(depth_max_) + " levels."));
  }
  ++depth_;
  ++at_;
  return true;
}

bool JsonReader::closes(char bracket) {
  skip_space();
  if (here() != bracket) return false;
  ++at_;
  --depth_;
  return true;
}

bool JsonReader::another(char bracket) {
  if (closes(bracket)) return false;
  if (here() != ',') return expected(bracket == ']' ? "',' or ']'" : "',' or '}'");
  ++at_;
  return true;
}

bool JsonReader::read_colon() {
  skip_space();
  if (here() != ':') return expected("':'");
  ++at_;
  return true;
}

bool JsonReader::peek(JsonKind& kind) {
  if (failed_) return false;
  skip_space();
  constexpr std::string_view kFirst = "ntf\"[{-0123456789";
  constexpr JsonKind kKinds[] = {JsonKind::kNull,   JsonKind::kBool,  JsonKind::kBool,
                                 JsonKind::kString, JsonKind::kArray, JsonKind::kObject};
  const size_t at = at_ < text_.size() ? kFirst.find(text_[at_]) : std::string_view::npos;
  if (at == std::string_view::npos) return expected("a value");
  kind = at < std::size(kKinds) ? kKinds[at] : JsonKind::kNumber;
  return true;
}

bool JsonReader::read_word(std::string_view word) {
  if (failed_) return false;
  skip_space();
  if (text_.compare(at_, word.size(), word) != 0) return expected(word);
  at_ += word.size();
  return true;
}

bool JsonReader::read_bool(bool& out) {
  skip_space();
  out = here() == 't';
  return read_word(out ? "true" : "false");
}

bool JsonReader::read_digits() {
  if (!is_digit(here())) return expected("a digit");
  while (is_digit(here())) ++at_;
  return true;
}

bool JsonReader::read_number(JsonNumber& out) {
  if (failed_) return false;
  skip_space();
  const size_t begin = at_;
  if (here() == '-') ++at_;
  if (here() == '0') {
    ++at_;
  } else if (!read_digits()) {
    return false;
  }
  const size_t integer_end = at_;
  if (here() == '.') {
    ++at_;
    if (!read_digits()) return false;
  }
  bool tiny = false;
  if (here() == 'e' || here() == 'E') {
    ++at_;
    tiny = here() == '-';
    if (here() == '+' || here() == '-') ++at_;
    if (!read_digits()) return false;
  }
  const char* from = text_.data() + begin;
  const char* to = text_.data() + at_;
  out = JsonNumber();
  if (at_ == integer_end && std::from_chars(from, to, out.integer).ec == std::errc()) {
    out.is_integer = true;
    return true;
  }
  if (std::from_chars(from, to, out.real).ec != std::errc()) {
    if (!tiny)
      return fail(
          invalid_argument(std::string(what_) + " holds a number too large, at byte " + std::to_string(begin) + "."));
    out.real = 0;
  }
  out.is_integer = out.real == std::floor(out.real) && std::abs(out.real) <= kIntegerRealMax;
  if (out.is_integer) out.integer = static_cast<int64_t>(out.real);
  return true;
}

void JsonReader::skip_plain() {
  uint64_t word = 0;
  while (at_ + sizeof word <= text_.size()) {
    std::memcpy(&word, text_.data() + at_, sizeof word);
    if (some_special(word)) break;
    at_ += sizeof word;
  }
  while (at_ < text_.size() && is_plain(static_cast<unsigned char>(text_[at_]))) ++at_;
}

bool JsonReader::read_string(JsonString& out) {
  if (failed_) return false;
  skip_space();
  if (here() != '"') return expected("a string in double quotes");
  out = {++at_, 0, false};
  while (true) {
    skip_plain();
    if (at_ >= text_.size()) {
      return fail(invalid_argument(std::string(what_) + " is not valid JSON: the string that begins at byte " +
                                   std::to_string(out.begin - 1) + " has no end."));
    }
    if (text_[at_] == '"') break;
    if (text_[at_] != '\\') return expected("control characters in a string to be escaped");
    out.escaped = true;
    if (!read_escape()) return false;
  }
  out.size = at_++ - out.begin;
  return true;
}

bool JsonReader::read_code_unit(size_t at, uint32_t& unit) {
  unit = 0;
  if (at + 6 > text_.size() || text_[at] != '\\' || text_[at + 1] != 'u') return false;
  for (size_t i = at + 2; i < at + 6; ++i) {
    const int digit = hex_digit(text_[i]);
    if (digit < 0) return false;
    unit = unit * 16 + static_cast<uint32_t>(digit);
  }
  return true;
}

bool JsonReader::half_pair(size_t at) {
  return fail(invalid_argument(std::string(what_) + " holds half of a surrogate pair, " + text_.substr(at, 6) +
                               ", at byte " + std::to_string(at) + ": a text was cut inside a character."));
}

// At a backslash: checks the escape and passes over it.
bool JsonReader::read_escape() {
  const char kind = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
  if (kind != 'u') {
    if (kind == '\0' || !std::strchr("\"\\/bfnrt", kind)) return expected("an escape that JSON knows");
    at_ += 2;
    return true;
  }
  uint32_t unit = 0;
  uint32_t low = 0;
  if (!read_code_unit(at_, unit)) return expected("\\u and four hexadecimal digits");
  if (is_low_half(unit)) return half_pair(at_);
  if (is_high_half(unit)) {
    if (!read_code_unit(at_ + 6, low) || !is_low_half(low)) return half_pair(at_);
    at_ += 6;
  }
  at_ += 6;
  return true;
}

std::string_view JsonReader::text(const JsonString& string) {
  char* const begin = text_.data() + string.begin;
  if (!string.escaped) return {begin, string.size};
  char* to = begin;
  const char* const end = begin + string.size;
  for (const char* from = begin; from < end;) {
    if (*from != '\\') {
      *to++ = *from++;
      continue;
    }
    if (from[1] != 'u') {
      constexpr std::string_view kLetters = "bfnrt";
      const size_t letter = kLetters.find(from[1]);
      *to++ = letter == std::string_view::npos ? from[1] : "\b\f\n\r\t"[letter];
      from += 2;
      continue;
    }
    uint32_t unit = 0;
    uint32_t low = 0;
    read_code_unit(static_cast<size_t>(from - text_.data()), unit);
    from += 6;
    if (is_high_half(unit)) {
      read_code_unit(static_cast<size_t>(from - text_.data()), low);
      from += 6;
      unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    to = write_utf8(to, unit);
  }
  return {begin, static_cast<size_t>(to - begin)};
}

bool JsonReader::skip() {
  JsonKind kind = JsonKind::kNull;
  if (!peek(kind)) return false;
  JsonString string;
  JsonNumber number;
  bool flag = false;
  switch (kind) {
    case JsonKind::kNull:
      return read_null();
    case JsonKind::kBool:
      return read_bool(flag);
    case JsonKind::kNumber:
      return read_number(number);
    case JsonKind::kString:
      return read_string(string);
    case JsonKind::kArray:
      return each_element([this] { return skip(); });
    case JsonKind::kObject:
      return each_field([this](const JsonString&) { return skip(); });
  }
  return false;
}

bool JsonReader::read_end() {
  if (failed_) return false;
  skip_space();
  return at_ == text_.size() || expected("the end");
}

}  // namespace quern
