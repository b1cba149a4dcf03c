// InputReader: the texts of `quern embed`, one line each, as plain text or JSON Lines.
//
// Owns the open file. Used from one thread.
#pragma once

#include <cstdint>
#include <fstream>
#include <istream>
#include <optional>
#include <string>

#include "base/result.h"

namespace quern {

struct InputRecord {
  int64_t line = 0;     // 0-based
  std::string id_json;  // the record's "id" as JSON; empty when it has none
  std::string text;
};

class InputReader {
 public:
  /// `path` "-" is stdin. `format` is "text", "jsonl" or "auto" (by the name's ending; stdin is text).
  static Result<InputReader> open(const std::string& path, const std::string& format);

  /// The next line, nothing at the end; an Error names the line that is not a JSON object with a string "text" (or
  /// "input").
  Result<std::optional<InputRecord>> next();

  /// Passes over lines already done; an Error when the input has fewer.
  Result<void> skip(int64_t lines);

  /// Lines in the file; 0 for stdin, where it cannot be known.
  int64_t count_lines() const;

 private:
  InputReader() = default;
  std::istream& stream();

  std::string path_;
  bool jsonl_ = false;
  std::ifstream file_;
  int64_t line_ = 0;
};

}  // namespace quern
