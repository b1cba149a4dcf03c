#include "cli/report.h"

#include <cstdio>

namespace quern {

std::string describe(const Error& error) {
  // A message that begins with what is at fault needs it no second time.
  if (error.param.empty() || error.message.starts_with(error.param)) return error.message;
  return error.param + ": " + error.message;
}

int report_error(const char* command, const Error& error) {
  std::fprintf(stderr, "quern %s: %s\n", command, describe(error).c_str());
  return error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kNotFound ? 2 : 1;
}

}  // namespace quern
