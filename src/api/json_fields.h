// Readers of single JSON fields: each names the field in its error, what is allowed, and (in part) what came.
//
// Pure functions over a JsonReader that stands at the field's value; false: the reader holds the error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/json_reader.h"

namespace quern {

/// "'field' must be {wanted}, not {got}."
Error must_be(std::string_view field, std::string_view wanted, std::string_view got);

/// Fails because the value that stands here is of another kind.
bool wrong_kind(JsonReader& reader, std::string_view field, std::string_view wanted);

/// An integer within [min, max].
bool read_integer(JsonReader& reader, std::string_view field, int64_t min, int64_t max, int64_t& out);
template <typename Integer>
bool read_integer_as(JsonReader& reader, std::string_view field, int64_t min, int64_t max, Integer& out) {
  int64_t value = 0;
  if (!read_integer(reader, field, min, max, value)) return false;
  out = static_cast<Integer>(value);
  return true;
}

/// A string; the view is into the reader's text. `wanted` says what is allowed.
bool read_text(JsonReader& reader, std::string_view field, std::string_view& out, std::string_view wanted = "a string");
bool read_text(JsonReader& reader, std::string_view field, std::optional<std::string_view>& out);

bool read_flag(JsonReader& reader, std::string_view field, bool& out);

}  // namespace quern
