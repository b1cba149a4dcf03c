// FileErrors: messages about tokenizer.json, "FILE: FIELD: what is wrong". Fields are named by path
// ("model.merges[3]").
//
// Owns nothing; the name outlives it. Any thread.
#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>

#include "base/excerpt.h"
#include "base/result.h"

namespace quern {

class FileErrors {
 public:
  using Element = simdjson::dom::element;

  explicit FileErrors(const std::string& name) : name_(name) {}

  Error file(const std::string& what) const { return invalid_argument(name_ + ": " + what); }
  Error field(const std::string& path, const std::string& what) const { return file(path + ": " + what); }
  Error refused(const std::string& path, Element value, const std::string& allowed) const {
    return field(path, excerpt(simdjson::to_string(value)) + " is not implemented; allowed: " + allowed);
  }

  /// A field that must be absent, null or `allowed`.
  template <typename T>
  Result<void> require(Element object, const std::string& path, const char* key, T allowed, const char* shown) const {
    Element value;
    if (object[key].get(value) || value.is_null()) return {};
    T actual;
    if (value.get(actual) || actual != allowed) return refused(path + "." + key, value, shown);
    return {};
  }

 private:
  const std::string& name_;
};

/// The "type" of a step or a model; empty when it has none.
inline std::string_view type_of(FileErrors::Element value) {
  std::string_view type;
  if (value["type"].get(type)) return "";
  return type;
}

// An id above this is a mistake in the file, not a vocabulary.
constexpr int64_t kTokenIdMax = (1 << 24) - 1;

}  // namespace quern
