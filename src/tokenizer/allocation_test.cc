// encode() where the N-th allocation fails, for every N: it throws bad_alloc, and the next encode() is right.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>

#include "base/test_failing_new.h"
#include "tokenizer/tiny_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace quern {
namespace {

using failing_new::allocations_left_here;

/// Lets allocation `failing` of encode() fail, in a thread whose word cache is still empty. True when there was one.
bool fail_once(const Tokenizer& tokenizer, const std::string& text, const EncodeOptions& options, int failing,
               const std::vector<int32_t>& expected) {
  bool failed = false;
  std::thread([&] {
    allocations_left_here = failing;
    try {
      const auto ids = tokenizer.encode("a", text, options);
      allocations_left_here = -1;
      EXPECT_EQ(ids.value(), expected);
    } catch (const std::bad_alloc&) {
      allocations_left_here = -1;
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
