// encode() where the N-th allocation fails, for every N: it throws bad_alloc, and the next encode() is right.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <random>
#include <string>
#include <thread>

#include "tokenizer/tiny_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace {

thread_local int64_t allocations_left = -1;  // below 0: no failure

}  // namespace

// All forms that meet each other, as AddressSanitizer asks. Not inlined: g++ would see free() of what its own operator
// new gave.
[[gnu::noinline]] void* operator new(size_t size) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace quern {
namespace {

/// Lets allocation `failing` of encode() fail, in a thread whose word cache is still empty. True when there was one.
bool fail_once(const Tokenizer& tokenizer, const std::string& text, const EncodeOptions& options, int failing,
               const std::vector<int32_t>& expected) {
  bool failed = false;
  std::thread([&] {
    allocations_left = failing;
    try {
      const auto ids = tokenizer.encode("a", text, options);
      allocations_left = -1;
      EXPECT_EQ(ids.value(), expected);
    } catch (const std::bad_alloc&) {
      allocations_left = -1;
      failed = true;
    }
    EXPECT_EQ(tokenizer.encode("a", text, options).value(), expected) << "after failure " << failing;
  }).join();
  return failed;
}

TEST(Allocation, AnyFailureInEncodeLeavesTheTokenizerRight) {
  const Tokenizer tokenizer = Tokenizer::from_json(tiny_tokenizer_json(), "tiny.json").value();
  std::mt19937 rng(31);
  std::string text = "bc e\u0301e\u0316\u0301 <x>it's 12\n";
  for (int i = 0; i < 3000; ++i) text += static_cast<char>('a' + rng() % 3);
  for (int word = 0; word < 2000; ++word) {  // each its own, none merges: more ids than were reserved
    text += ' ';
    for (int i = 0; i < 7; ++i) text += static_cast<char>('d' + rng() % 20);
  }
  for (const Truncation side : {Truncation::kNone, Truncation::kLeft, Truncation::kRight}) {
    EncodeOptions options{.truncation = side};
    if (side != Truncation::kNone) options.tokens_max = 500;
    const std::vector<int32_t> expected = tokenizer.encode("a", text, options).value();
    int failures = 0;
    while (fail_once(tokenizer, text, options, failures, expected)) ++failures;
    EXPECT_GT(failures, 3);
  }
}

}  // namespace
}  // namespace quern
