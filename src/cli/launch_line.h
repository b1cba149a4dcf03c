// The command line of `quern serve` as people write it for other servers, in our own flags.
//
// Pure functions; any thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/options.h"
#include "base/result.h"

namespace quern {

struct LaunchLine {
  std::vector<std::string> args;  // our own flags alone; what no table knows is left as it is
  std::string notice;             // one line for the log: what was renamed, what has no meaning here; or empty
  FlagOrigins origins;            // of the renamed
};

/// The first word that belongs to no flag is the model. `takes_value` says of one of our own flags whether a value
/// follows it. An Error names the flag that is not built, or whose value is not.
Result<LaunchLine> read_launch_line(const std::vector<std::string>& args,
                                    const std::function<bool(const std::string& flag)>& takes_value);

}  // namespace quern
