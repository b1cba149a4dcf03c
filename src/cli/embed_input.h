// InputReader: the texts of `quern embed`, one line each, as plain text or JSON Lines.
//
// Owns the open file. Used from one thread.
#pragma once

#include <cstdint>
#include <fstream>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace quern {

struct InputRecord {
  int64_t line = 0;     // 0-based
  std::string id_json;  // the record's "id" as JSON; empty when it has none
  std::string text;
  uint64_t input_hash = 0;  // of all bytes up to the end of this record
};

class InputReader {
 public:
  /// `path` "-" is stdin. `format` is "text", "jsonl" or "auto" (by the name's ending; stdin and a name without one are
  /// text). A folder, another ending, and a file in UTF-16 are Errors that say what to do. What cannot be read is one
  /// wherever it is met, and never taken for the end.
  static Result<InputReader> open(const std::string& path, const std::string& format);

  /// The next text, nothing at the end. A byte-order mark is passed over, CRLF ends a line as LF does. A line of text
  /// is an input whatever it holds, so that row and line agree; blank lines between JSON objects are passed over. An
  /// Error names the line that is not UTF-8, holds a NUL byte, or is not a JSON object with a string "text" (or
  /// "input") that is not empty.
  Result<std::optional<InputRecord>> next();

  /// "text" or "jsonl".
  std::string_view format() const { return jsonl_ ? "jsonl" : "text"; }

  /// Passes over texts already done; an Error when the input has fewer.
  Result<void> skip(int64_t records);
  /// Passes over all that is left.
  Result<void> skip_rest();

  /// Texts in the file; 0 for stdin, where it cannot be known.
  int64_t count_records() const;

  /// Of all bytes read so far; at the end, of the input.
  uint64_t hash() const { return hash_; }

 private:
  InputReader() = default;
  std::istream& stream();
  /// The next line that is a record, without its end; false at the end of the input. `hash`: takes in the bytes read,
  /// where it is not null.
  bool read_line(std::string& line, uint64_t* hash);
  /// After read_line() said false: an Error when it was not the input's end.
  Result<void> check_end();
  Result<std::optional<InputRecord>> check_record(std::string line) const;

  std::string path_;
  bool jsonl_ = false;
  std::ifstream file_;
  int64_t line_ = 0;
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace quern
