#include "cli/report.h"

#include <cstdio>
#include <string_view>

namespace quern {

std::string describe(const Error& error) {
  // A message that names what is at fault itself, in front ("FLAG: ...", "PATH/FILE: FIELD: ..."), needs it no second
  // time.
  const std::string& param = error.param;
  if (param.empty() || error.message.starts_with(param)) return error.message;
  for (size_t begin = 0; begin < error.message.size();) {
    const size_t end = error.message.find(": ", begin);
    if (end == std::string::npos) break;
    const std::string_view part = std::string_view(error.message).substr(begin, end - begin);
    if (part == param || part.ends_with("/" + param)) return error.message;
    if (part.find(' ') != std::string_view::npos) break;  // no name, but the message itself
    begin = end + 2;
  }
  return param + ": " + error.message;
}

std::string describe(const Error& error, const FlagOrigins& origins) {
  const auto origin = origins.find(error.param);
  return (origin == origins.end() ? "" : origin->second + ": ") + describe(error);
}

int report_error(const char* command, const Error& error, const FlagOrigins& origins) {
  std::fprintf(stderr, "quern %s: %s\n", command, describe(error, origins).c_str());
  return error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kNotFound ? 2 : 1;
}

}  // namespace quern
