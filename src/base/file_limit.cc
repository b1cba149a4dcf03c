#include "base/file_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

namespace quern {

int64_t connections_that_fit(int64_t files_max) {
  return std::max<int64_t>(1, std::max(files_max - kOtherFilesMax, files_max / 2));
}

Result<FileLimit> raise_file_limit(int64_t connections_wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return internal_error(std::string("cannot read the limit of open files: ") + std::strerror(errno));
  }
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (limit.rlim_cur != limit.rlim_max && ::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  FileLimit result;
  constexpr auto kMost = static_cast<rlim_t>(std::numeric_limits<int32_t>::max());
  result.files_max = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kMost));  // "unlimited" is a huge number
  result.connections_max = std::min(connections_wanted, connections_that_fit(result.files_max));
  return result;
}

}  // namespace quern
