#include "mutate.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <set>

namespace quern {
namespace {

/// Numbers at the edges of what a field may hold.
constexpr std::array<const char*, 16> kNumbers = {"0",
                                                  "-1",
                                                  "1",
                                                  "127",
                                                  "128",
                                                  "255",
                                                  "65536",
                                                  "2147483647",
                                                  "2147483648",
                                                  "4294967296",
                                                  "9223372036854775807",
                                                  "18446744073709551616",
                                                  "1e999",
                                                  "-0.0",
                                                  "1.5",
                                                  "00"};

size_t below(std::mt19937_64& random, size_t limit) { return static_cast<size_t>(random() % limit); }

/// One more, one less, or a number at an edge.
std::string near_or_edge(std::string_view digits, std::mt19937_64& random) {
  uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  switch (below(random, 3)) {
    case 0:
      return std::to_string(value + 1);
    case 1:
      return std::to_string(value - 1);
    default:
      return kNumbers[below(random, kNumbers.size())];
  }
}

bool is_number(std::string_view word) { return word.find_first_not_of("0123456789") == word.npos; }

bool is_word_byte(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

}  // namespace

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + 1;
    if (is_word_byte(text[begin])) {
      while (end < text.size() && is_word_byte(text[end])) ++end;
    }
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

Mutator::Mutator(std::vector<std::string> seeds) : seeds_(std::move(seeds)) {
  std::set<std::string_view> words(kNumbers.begin(), kNumbers.end());
  for (const std::string& seed : seeds_) {
    for (std::string_view word : words_of(seed)) words.insert(word);
  }
  words_.assign(words.begin(), words.end());  // sorted: the same on every machine
}

void Mutator::change(std::string& bytes, Random& random) const {
  const std::string& other = seeds_[below(random, seeds_.size())];
  const size_t at = below(random, bytes.size() + 1);
  const size_t count = std::min(bytes.size() - at, size_t{1} << below(random, 8));
  switch (below(random, 9)) {
    case 0:  // one bit
      if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(random, 8)));
      return;
    case 1:  // one byte
      if (at < bytes.size()) bytes[at] = static_cast<char>(random());
      return;
    case 2:
      bytes.insert(at, 1, static_cast<char>(random()));
      return;
    case 3:
      bytes.erase(at, count);
      return;
    case 4:  // a piece once more, elsewhere
      bytes.insert(below(random, bytes.size() + 1), bytes.substr(at, count));
      return;
    case 5: {  // a piece of another seed
      const size_t from = below(random, other.size() + 1);
      bytes.replace(at, count, other, from, size_t{1} << below(random, 10));
      return;
    }
    case 6:  // the end is missing
      bytes.resize(at);
      return;
    case 7: {  // a number
      auto words = words_of(bytes);
      std::erase_if(words, [](std::string_view word) { return !is_number(word); });
      if (words.empty()) return;
      const std::string_view word = words[below(random, words.size())];
      bytes.replace(static_cast<size_t>(word.data() - bytes.data()), word.size(), near_or_edge(word, random));
      return;
    }
    default: {  // a word for a word: what parsers with a grammar get to see
      const auto words = words_of(bytes);
      if (words.empty()) return;
      const std::string_view word = words[below(random, words.size())];
      bytes.replace(static_cast<size_t>(word.data() - bytes.data()), word.size(), words_[below(random, words_.size())]);
      return;
    }
  }
}

std::string Mutator::make(uint64_t number) const {
  Random random(number);
  std::string bytes = seeds_[below(random, seeds_.size())];
  // Mostly one or two changes: more seldom leave anything that a parser reads to its end.
  const size_t changes = size_t{1} << (below(random, 4) * below(random, 2));
  for (size_t i = 0; i < changes; ++i) change(bytes, random);
  if (bytes.size() > kBytesMax) bytes.resize(kBytesMax);
  return bytes;
}

}  // namespace quern
