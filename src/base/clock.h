// The two clocks: monotonic for durations and deadlines, wall for people.
#pragma once

#include <chrono>
#include <cstdint>

namespace quern {

/// Microseconds on the monotonic clock. Any thread.
inline int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace quern
