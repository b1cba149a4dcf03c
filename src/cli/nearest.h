// The known name nearest to a mistyped one, for error messages that help.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// Levenshtein distance in bytes.
size_t edit_distance(std::string_view a, std::string_view b);

/// The nearest of `known`, or "" when none is within a third of the word's length (at least 2 edits).
std::string nearest_name(std::string_view word, const std::vector<std::string>& known);

}  // namespace quern
