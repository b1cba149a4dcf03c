// The process's limit of open files, and how many connections fit into it. Called once, at start.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace quern {

/// Files that are no connections: weights, logs, epoll and timer descriptors, listeners, sockets being refused.
constexpr int64_t kOtherFilesMax = 512;

struct FileLimit {
  int64_t files_max = 0;        // as it is now
  int64_t connections_max = 0;  // of those asked for, how many fit
};

/// Raises the soft limit to the hard one. Errors: the system tells no limit.
Result<FileLimit> raise_file_limit(int64_t connections_wanted);

/// The share of `files_max` that connections may have: all but kOtherFilesMax, or half where that is less.
int64_t connections_that_fit(int64_t files_max);

}  // namespace quern
