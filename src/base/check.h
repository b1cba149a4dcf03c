// QUERN_CHECK: an invariant of our own code. It stays on in release builds; a broken one aborts with file, line and
// text.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace quern {

[[noreturn]] inline void check_failed(const char* file, int line, const char* condition, const char* message) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s (%s)\n", file, line, condition, message);
  std::abort();
}

}  // namespace quern

#define QUERN_CHECK(condition, message)                               \
  do {                                                                \
    if (!(condition)) [[unlikely]]                                    \
      ::quern::check_failed(__FILE__, __LINE__, #condition, message); \
  } while (false)
