// The mutator reaches what it is there for, and repeats itself.
#include "mutate.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace quern {
namespace {

constexpr uint64_t kRuns = 10'000;

bool some(const Mutator& mutator, const std::function<bool(const std::string&)>& is_it) {
  for (uint64_t number = 0; number < kRuns; ++number) {
    if (is_it(mutator.make(number))) return true;
  }
  return false;
}

const std::vector<std::string> kSeeds = {R"({"input": "abc", "dimensions": 64})", R"({"input": [1, 2], "user": "x"})"};

TEST(MutatorTest, ANumberGivesTheSameBytesInAnyOrder) {
  const Mutator one(kSeeds), two(kSeeds);
  std::vector<std::string> forward;
  for (uint64_t number = 0; number < 500; ++number) forward.push_back(one.make(number));
  for (uint64_t number = 500; number-- > 0;) EXPECT_EQ(two.make(number), forward[number]) << number;
}

TEST(MutatorTest, MostOutcomesDiffer) {
  const Mutator mutator(kSeeds);
  std::set<std::string> seen;
  for (uint64_t number = 0; number < kRuns; ++number) seen.insert(mutator.make(number));
  EXPECT_GT(seen.size(), kRuns / 2);
}

TEST(MutatorTest, ReachesStructureAndDamage) {
  const Mutator mutator(kSeeds);
  const auto equals = [](const char* text) { return [text](const std::string& bytes) { return bytes == text; }; };
  EXPECT_TRUE(some(mutator, equals(""))) << "cut to nothing";
  EXPECT_TRUE(some(mutator, equals(R"({"input": [1, 3], "user": "x"})"))) << "one more";
  EXPECT_TRUE(some(mutator, equals(R"({"input": "abc", "dimensions": 2147483648})"))) << "a number at an edge";
  EXPECT_TRUE(some(mutator, [](const std::string& bytes) {
    return bytes.find("user") != bytes.npos && bytes.find("abc") != bytes.npos && bytes.back() == '}';
  })) << "a field of another seed";
  EXPECT_TRUE(some(mutator, equals(R"({"input": "abc", "dimensions": 64)"))) << "the last byte is missing";
  EXPECT_TRUE(some(mutator, [](const std::string& bytes) { return bytes.find('\0') != bytes.npos; })) << "a zero byte";
  EXPECT_TRUE(some(mutator, [](const std::string& bytes) {
    return bytes.find("input") != bytes.rfind("input") && bytes.size() < 70;
  })) << "a field twice";
}

TEST(MutatorTest, NothingIsLongerThanTheLimit) {
  const Mutator mutator({std::string(Mutator::kBytesMax - 1, 'x')});
  for (uint64_t number = 0; number < 200; ++number) EXPECT_LE(mutator.make(number).size(), Mutator::kBytesMax);
}

TEST(MutatorTest, AnEmptySeedIsASeed) {
  const Mutator mutator({""});
  EXPECT_TRUE(some(mutator, [](const std::string& bytes) { return !bytes.empty(); }));
}

}  // namespace
}  // namespace quern
