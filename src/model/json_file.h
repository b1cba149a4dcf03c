// JsonFile: a JSON file of a model folder, and errors that name file, field, what was found and what is allowed.
//
// Owns the parsed document; a JsonView looks into it and must not outlive it. Reads as Python's json does where the two
// could differ: of a key given twice the last one counts, an integer may have any number of digits, and a byte-order
// mark is an error. Any thread, one at a time.
#pragma once

#include <simdjson.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace quern {

/// One object of a JsonFile.
class JsonView {
 public:
  JsonView(const std::string* path, std::string at, simdjson::dom::element element)
      : path_(path), at_(std::move(at)), element_(element) {}

  const std::string& path() const { return *path_; }
  /// The value of `key`, null included.
  std::optional<simdjson::dom::element> find(std::string_view key) const;
  /// The key is there and its value is not null.
  bool has(std::string_view key) const;
  std::optional<std::string_view> text(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<JsonView> child(std::string_view key) const;
  /// Every key once, with its last value.
  std::vector<std::pair<std::string, simdjson::dom::element>> members() const;

  /// A whole number within [low, high]; `out` stays as it is where the key is not there.
  Result<void> integer(std::string_view key, int64_t low, int64_t high, int64_t& out) const;
  /// "FILE: "key": expected ..., found ..."
  Error bad(std::string_view key, const std::string& expected) const;

 private:
  const std::string* path_;
  std::string at_;  // of the keys in messages: "rope_scaling." within that object
  simdjson::dom::element element_;
};

class JsonFile {
 public:
  /// Longer files are refused: a configuration is read whole.
  static constexpr size_t kBytesMax = size_t{64} << 20;

  static Result<JsonFile> load(const std::string& dir, const std::string& name);
  /// Nothing where the file is not there.
  static Result<std::optional<JsonFile>> load_if_present(const std::string& dir, const std::string& name);

  const std::string& path() const { return *path_; }
  /// The file's object; load() has refused anything else, but for root_array().
  JsonView root() const { return {path_.get(), "", root_}; }
  std::optional<simdjson::dom::array> root_array() const;

 private:
  std::unique_ptr<std::string> path_;  // stays where it is when the file is moved
  std::unique_ptr<simdjson::dom::parser> parser_;
  simdjson::dom::element root_;
};

/// A value that switches nothing on: null, false, 0, "", [] or {}.
bool is_off(simdjson::dom::element value);

}  // namespace quern
