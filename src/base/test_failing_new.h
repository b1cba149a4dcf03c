// Replaces operator new of a test binary by one that can be told to fail. Included by one file of the binary.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace quern::failing_new {

/// The allocation that finds 0 fails, on whichever thread; every other one counts down. Negative: none fails.
inline std::atomic<int64_t> allocations_left{-1};
/// The same for this thread alone.
inline thread_local int64_t allocations_left_here = -1;
/// Every allocation of this thread fails.
inline thread_local bool all_fail_here = false;
/// This thread's allocations neither fail nor count in allocations_left.
inline thread_local bool exempt = false;

inline bool must_fail() {
  if (all_fail_here) return true;
  if (allocations_left_here >= 0 && allocations_left_here-- == 0) return true;
  return !exempt && allocations_left.load(std::memory_order_relaxed) >= 0 &&
         allocations_left.fetch_sub(1, std::memory_order_relaxed) == 0;
}

}  // namespace quern::failing_new

// Every form, as a sanitizer brings the ones that are missing. Not inlined: the compiler would see free() on the result
// of new, and warn.
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return quern::failing_new::must_fail() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
}
[[gnu::noinline]] void* operator new(size_t bytes) {
  if (void* memory = operator new(bytes, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return operator new(bytes, std::nothrow); }
void* operator new[](size_t bytes) { return operator new(bytes); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
