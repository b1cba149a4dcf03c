// One word of any length costs what its kept ids cost, not what its bytes do: counted in merged bytes, whatever it is
// made of and whichever side is kept. And where a word is known from its middle.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <random>

#include "tokenizer/bpe.h"
#include "tokenizer/splitter.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace quern {
namespace {

using Random = std::mt19937;

struct Face {
  const char* name;
  std::function<void(std::string&, Random&)> add;
};

std::function<void(std::string&, Random&)> repeat(std::string text) {
  return [text](std::string& to, Random&) { to += text; };
}

std::function<void(std::string&, Random&)> any_of(std::vector<std::string> pieces) {
  return [pieces](std::string& to, Random& rng) { to += pieces[rng() % pieces.size()]; };
}

std::function<void(std::string&, Random&)> between(char32_t first, char32_t last) {
  return [first, last](std::string& to, Random& rng) { append_utf8(to, first + rng() % (last - first + 1)); };
}

std::vector<Face> faces() {
  return {{"one letter", repeat("a")},
          {"a letter of an added token", repeat("t")},
          {"two letters", repeat("ab")},
          {"random letters", between('a', 'z')},
          {"few letters", between('a', 'c')},
          {"CJK", between(0x4E00, 0x9FFF)},
          {"Hangul", between(0xAC00, 0xD7A3)},
          {"emoji", between(0x1F600, 0x1F64F)},
          {"ZWJ sequences", repeat("\U0001F468\u200D\U0001F469\u200D\U0001F467")},
          {"one mark", repeat("\u0301")},
          {"marks in order", any_of({"\u0301", "\u0302"})},
          {"marks out of order", any_of({"\u0301", "\u0316"})},
          {"letters and marks", any_of({"e\u0301", "o\u0308\u0316", "z\u0334"})},
          {"spaces", repeat(" ")},
          {"newlines", repeat("\n")},
          {"whitespace", any_of({" ", "\t"})},
          {"whitespace and newlines", any_of({" ", "\n", "\t"})},
          {"digits", between('0', '9')},
          {"one punctuation", repeat("!")},
          {"punctuation", any_of({"!", "?", "'", "-", "<", "|", "_"})},
          {"apostrophes", repeat("'s")},
          {"beginnings of an added token", repeat("<|im")},
          {"a mix", any_of({"a", "1", " ", "\n", "!", "\u00e9", "\u4e2d", "\u0301", "\U0001F600", "'s"})}};
}

Tokenizer mini() {
  std::ifstream file(QUERN_SOURCE_DIR "/models/quern-mini/tokenizer.json", std::ios::binary);
  const std::string json(std::istreambuf_iterator<char>(file), {});
  return Tokenizer::from_json(json, "quern-mini").value();
}

TEST(LongWord, CutOnEitherSideIsReadAsFarAsItsIdsNeed) {
  const Tokenizer tokenizer = mini();
  constexpr size_t kBytes = 1 << 20, kKept = 500;
  Random rng(41);
  for (const Face& face : faces()) {
    std::string text;
    while (text.size() < kBytes) face.add(text, rng);
    const std::vector<int32_t> all = tokenizer.encode(text).value();
    for (const Truncation side : {Truncation::kLeft, Truncation::kRight}) {
      const uint64_t before = Bpe::merged_bytes();
      std::vector<int32_t> ids = tokenizer.encode(text, {.tokens_max = kKept, .truncation = side}).value();
      EXPECT_LT(Bpe::merged_bytes() - before, kBytes / 4)
          << face.name << (side == Truncation::kLeft ? " left" : " right");
      ids.pop_back();
      const auto end = side == Truncation::kLeft ? all.end() - 1 : all.begin() + static_cast<ptrdiff_t>(ids.size());
      EXPECT_TRUE(std::equal(ids.begin(), ids.end(), end - static_cast<ptrdiff_t>(ids.size()))) << face.name;
      EXPECT_EQ(ids.size(), std::min(kKept, all.size()) - 1) << face.name;
    }
  }
}

TEST(LongWord, TooLongIsKnownFromItsBeginning) {
  const Tokenizer tokenizer = mini();
  std::string text;
  Random rng(42);
  while (text.size() < 200'000) text += static_cast<char>('a' + rng() % 26);
  const uint64_t before = Bpe::merged_bytes();
  const auto refused = tokenizer.encode(text, {.tokens_max = 10'000});  // its bytes alone could be as few tokens
  ASSERT_FALSE(refused.ok());
  EXPECT_LT(Bpe::merged_bytes() - before, text.size());
  EXPECT_NE(refused.error().message.find("text has at least "), std::string::npos) << refused.error().message;
}

TEST(LongWord, WhereAWordIsKnownFromItsMiddleItEndsWhereItSays) {
  const std::string head = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
  const std::string tail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const auto pieces =
      any_of({"a", "S", "'", "'re", "\u017f", "1", " ", "\n", "\r", "\t", "!", "\u4e2d", "\u0301", "\u3000"});
  Random rng(43);
  size_t inside = 0;
  for (const char* digits : {"", "{1,3}"}) {
    const Splitter splitter = Splitter::make(head + digits + tail).value();
    ASSERT_TRUE(splitter.scans());
    for (int round = 0; round < 20'000; ++round) {
      std::string text;
      for (size_t left = 1 + rng() % 20; left > 0; --left) pieces(text, rng);
      for (size_t cut = 0; cut < text.size(); ++cut) {
        if ((text[cut] & 0xC0) == 0x80) continue;
        const std::string_view rest = std::string_view(text).substr(cut);
        const Splitter::Place place = splitter.first_known(rest, rng() % (rest.size() + 1));
        if (place.at == rest.size()) continue;
        size_t begin = 0, end = 0;  // of the word of the whole text that has this place
        while (end <= cut + place.at) begin = end, end = splitter.scan(text, begin);
        ASSERT_EQ(cut + splitter.scan(rest, place.at), end) << cut << " " << place.at << ": " << text;
        ASSERT_TRUE(place.inside || cut + place.at == begin) << cut << " " << place.at << ": " << text;
        inside += place.inside;
      }
    }
  }
  EXPECT_GT(inside, 10'000u);
}

TEST(LongWord, NfcCanBeCutBeforeACharacterThatDoesNotJoin) {
  // What such a character decomposes into must not join with what stands before either.
  const uint8_t* flags = unicode_flags();
  std::string buffer, pair;
  for (char32_t right = 0x80; right < 0x110000; ++right) {
    if ((right >= 0xD800 && right < 0xE000) || flags[right] & kNfcJoins) continue;
    for (const char32_t left : {U'a', U'\u1100', U'\uac00', U'\u0915', U'\u0301', U'\u0b47', U'\u1b05', U'\u0cc6'}) {
      std::string text, alone;
      append_utf8(alone, left);
      append_utf8(text, left);
      append_utf8(text, right);
      std::string second, expected(to_nfc(alone, buffer));
      append_utf8(second, right);
      expected += to_nfc(second, buffer);
      ASSERT_EQ(to_nfc(text, buffer), expected) << std::hex << static_cast<uint32_t>(right);
    }
  }
}

}  // namespace
}  // namespace quern
