// JsonReader: reads one JSON text (RFC 8259) from front to back, in place.
//
// Owns nothing but its place; the text stays the caller's and holds what is read: strings are unescaped where they
// stand, so a document costs its own bytes and no more, whatever is in it. (An index of the document, as simdjson
// makes, costs four bytes for every byte of "[1,1,1".) Strict: UTF-8, grammar, escapes, surrogates and depth are
// checked in skipped values too. The first failure stays: after it every call returns false. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace quern {

enum class JsonKind { kNull, kBool, kNumber, kString, kArray, kObject };

/// Where a string stands in the text, without its quotes.
struct JsonString {
  size_t begin = 0;
  size_t size = 0;
  bool escaped = false;
};

/// JSON has one kind of number: 256.0 and 1e3 are integers too.
struct JsonNumber {
  bool is_integer = false;  // and within +-9e15 or written without fraction and exponent, within int64
  int64_t integer = 0;
  double real = 0;
};

class JsonReader {
 public:
  /// Messages begin with `what`: "The request body". A byte-order mark in front is passed over.
  JsonReader(std::string& text, int depth_max, std::string_view what);

  bool ok() const { return !failed_; }
  const Error& error() const { return error_; }
  /// Fails with an error of the caller's; false.
  bool fail(Error error);

  /// The kind of the value that stands here.
  bool peek(JsonKind& kind);
  bool read_null() { return read_word("null"); }
  bool read_bool(bool& out);
  bool read_number(JsonNumber& out);
  bool read_string(JsonString& out);
  /// The string's text, unescaped in place: once for each string, and then the place is not read again.
  std::string_view text(const JsonString& string);
  /// Reads one value of any kind and forgets it.
  bool skip();
  /// Nothing but white space is left.
  bool read_end();

  /// Calls each() at every element; it reads or skips exactly one value, or returns false to break off.
  template <typename Each>
  bool each_element(Each each) {
    if (!open('[')) return false;
    if (closes(']')) return true;
    do {
      if (!each()) return false;
    } while (another(']'));
    return ok();
  }
  /// Calls each(key) at every field's value.
  template <typename Each>
  bool each_field(Each each) {
    if (!open('{')) return false;
    if (closes('}')) return true;
    do {
      JsonString key;
      if (!read_string(key) || !read_colon() || !each(key)) return false;
    } while (another('}'));
    return ok();
  }

  /// A place to come back to: a value that was skipped can be read later.
  size_t position() const { return at_; }
  void seek(size_t position) { at_ = position; }

 private:
  void skip_space();
  char here() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool open(char bracket);
  bool closes(char bracket);
  bool another(char bracket);
  bool read_colon();
  bool read_word(std::string_view word);
  bool read_digits();
  bool read_escape();
  bool read_code_unit(size_t at, uint32_t& unit);
  void skip_plain();
  bool expected(std::string_view what);
  bool half_pair(size_t at);

  std::string& text_;
  const int depth_max_;
  const std::string_view what_;
  size_t at_ = 0;
  int depth_ = 0;
  bool failed_ = false;
  Error error_;
};

/// "null", "a boolean", ...
std::string_view json_kind_name(JsonKind kind);

}  // namespace quern
