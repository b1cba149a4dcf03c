// What the flags of other servers' launch lines mean here: one table, which the start, its notices and the documents
// read.
//
// Immutable; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// What follows a flag on the command line.
enum class Takes {
  kNothing,
  kValue,
  kCount,   // a number that may end in k, K, m, M (1000, 1024, ...), or auto
  kMaybe,   // a value or nothing
  kValues,  // one or more
  kJson,    // a JSON object
};

enum class Fate {
  kBecomes,    // our flag
  kNoMeaning,  // accepted, named at start
  kRefused,    // not built
};

/// One row. `values` are separated by spaces and compared whatever their case; what they say depends on `fate`:
/// kBecomes: FOREIGN=OURS, all others pass unchanged; kNoMeaning: the only ones accepted (of a JSON object KEY or
/// KEY=VALUE), empty: any. A value that is not accepted is refused with `why`.
struct LaunchFlag {
  std::string_view names;    // separated by spaces
  std::string_view servers;  // whose, for the documents
  Takes takes;
  Fate fate;
  std::string_view ours;
  std::string_view values;
  std::string_view why;
};

/// The words of a row's `names` or `values`.
std::vector<std::string_view> split_words(std::string_view words);

/// The row that has `name` (dashes in front included), or nullptr.
const LaunchFlag* find_launch_flag(std::string_view name);

/// The table in Markdown, as `quern help launch-lines` prints it.
std::string launch_flags_table();

}  // namespace quern
