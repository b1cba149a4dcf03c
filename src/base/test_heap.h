// What the heap holds, for tests that say what must have been let go.
#pragma once

#include <malloc.h>

#include <cstddef>

namespace quern {

/// What the heap has handed out; under a sanitizer, which has a heap of its own, always the same.
inline size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

}  // namespace quern
