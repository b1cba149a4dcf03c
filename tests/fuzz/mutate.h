// Changed copies of seed inputs: what a fuzzer without coverage feeds its target. Number N always gives the same bytes,
// whatever ran before it, so that a failure is repeated by its number alone.
//
// Owns the seeds. make() is const and may be called by any thread.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

class Mutator {
 public:
  static constexpr size_t kBytesMax = 1 << 16;

  /// `seeds`: at least one.
  explicit Mutator(std::vector<std::string> seeds);

  /// One to eight changes to a seed; at most kBytesMax bytes.
  std::string make(uint64_t number) const;

 private:
  using Random = std::mt19937_64;

  void change(std::string& bytes, Random& random) const;

  std::vector<std::string> seeds_;
  std::vector<std::string> words_;  // of all seeds: names, numbers, quoted strings, single signs
};

/// The words of a text: runs of letters and digits, and every other byte by itself.
std::vector<std::string_view> words_of(std::string_view text);

}  // namespace quern
