#include "cli/report.h"

#include <cstdio>

namespace quern {

std::string describe(const Error& error) {
  return error.param.empty() ? error.message : error.param + ": " + error.message;
}

int report_error(const char* command, const Error& error) {
  std::fprintf(stderr, "quern %s: %s\n", command, describe(error).c_str());
  return error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kNotFound ? 2 : 1;
}

}  // namespace quern
