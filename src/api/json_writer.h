// Writing JSON by hand into one string: answers are mostly numbers, and a tree of nodes would cost more than the
// vector.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quern {

/// Appends "text" in quotes, escaped.
void append_json_string(std::string& out, std::string_view text);
/// Appends the digits of an integer.
void append_json_integer(std::string& out, int64_t value);
/// Appends [v0,v1,...], each the shortest text that reads back to the same float. Values must be finite.
void append_json_floats(std::string& out, std::span<const float> values);

}  // namespace quern
