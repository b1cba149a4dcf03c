// A cut text has the ids of the whole text, cut: texts made to be cut at the worst places, both sides, every limit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "tokenizer/encoder.h"
#include "tokenizer/tiny_tokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace quern {
namespace {

using testing::HasSubstr;

Tokenizer tiny() { return Tokenizer::from_json(tiny_tokenizer_json(), "tiny.json").value(); }

/// The tiny tokenizer with merges of whitespace, so that it matters where a word of it ends.
TokenizerTables spaced() {
  std::string json = tiny_tokenizer_json();
  const auto replace = [&json](const std::string& from, const std::string& to) {
    json.replace(json.find(from), from.size(), to);
  };
  replace(R"("aaaa":259)", R"("aaaa":259,"\u0120\u0120":260,"\u0120\u0120\u0120\u0120":261,"\u010a\u010a":262,)"
                           R"("\u0120a":263,"\u0120\u010a":264,"\u010a\u0120":265)");
  replace(R"("aa aa")", R"("aa aa","\u010a \u0120","\u0120 \u0120","\u0120\u0120 \u0120\u0120","\u010a \u010a",)"
                        R"("\u0120 a","\u0120 \u010a")");
  replace(R"("id":260)", R"("id":266)");
  replace(R"("id":261)", R"("id":267)");
  replace(R"("ids":[260])", R"("ids":[266])");
  TokenizerTables tables = parse_tokenizer_json(json, "spaced.json").value();
  tables.serial = UINT32_MAX;  // in the word cache, apart from the tokenizers of other tests
  return tables;
}

Tokenizer mini() {
  std::ifstream file(QUERN_SOURCE_DIR "/models/quern-mini/tokenizer.json", std::ios::binary);
  const std::string json(std::istreambuf_iterator<char>(file), {});
  return Tokenizer::from_json(json, "quern-mini").value();
}

/// The oracle: all ids, then cut, the end token kept.
std::vector<int32_t> cut(std::vector<int32_t> ids, size_t tokens_max, Truncation side) {
  if (ids.size() <= tokens_max) return ids;
  const auto surplus = static_cast<ptrdiff_t>(ids.size() - tokens_max);
  const auto begin = side == Truncation::kLeft ? ids.begin() : ids.end() - 1 - surplus;
  ids.erase(begin, begin + surplus);
  return ids;
}

/// `size` bytes or a few more out of runs of pieces: words that are long, tokens across the cut, marks, whitespace.
std::string hostile_text(std::mt19937& rng, size_t size) {
  static const std::vector<std::string> kPieces = {"a",
                                                   "aa",
                                                   "ab",
                                                   "abc",
                                                   "b",
                                                   "c",
                                                   "z",
                                                   " ",
                                                   "\n",
                                                   "\r\n",
                                                   "\t",
                                                   "!",
                                                   "'",
                                                   "'s",
                                                   "'re",
                                                   "<",
                                                   "<x>",
                                                   "<eos>",
                                                   "<x",
                                                   "<eo",
                                                   "<|endoftext|>",
                                                   "<|im_start|>",
                                                   "<|im",
                                                   "m_",
                                                   "1",
                                                   "23",
                                                   "\u0301",
                                                   "\u0316",
                                                   "\u0334",
                                                   "e\u0301",
                                                   "\u00e9",
                                                   "\u212a",
                                                   "\u1100",
                                                   "\u1161",
                                                   "\u11a8",
                                                   "\uac00",
                                                   "\u4e2d\u6587",
                                                   "\u3042",
                                                   "\u3000",
                                                   "\U0001F600",
                                                   "\u0663",
                                                   "\u017f",
                                                   " the",
                                                   "ing",
                                                   "\u0915\u093c"};
  std::string text;
  while (text.size() < size) {
    const std::string& piece = kPieces[rng() % kPieces.size()];
    const size_t times = rng() % 6 != 0 ? 1 : rng() % 5 != 0 ? rng() % 40 : rng() % 20000;
    for (size_t i = 0; i < times && text.size() < size; ++i) text += piece;
    if (rng() % 16 == 0) {  // a long word that does not repeat
      for (size_t i = rng() % 6000; i > 0 && text.size() < size; --i) text += static_cast<char>('a' + rng() % 4);
    }
  }
  return text;
}

void expect_cuts_equal(const Tokenizer& tokenizer, const std::string& text, const std::vector<size_t>& limits) {
  const std::vector<int32_t> all = tokenizer.encode(text).value();
  for (const size_t tokens_max : limits) {
    for (const Truncation side : {Truncation::kLeft, Truncation::kRight}) {
      const auto ids = tokenizer.encode(text, {.tokens_max = tokens_max, .truncation = side}).value();
      ASSERT_EQ(ids, cut(all, tokens_max, side))
          << tokens_max << (side == Truncation::kLeft ? " left of " : " right of ") << text.size()
          << " bytes: " << text.substr(0, 200);
    }
  }
}

TEST(Truncation, EqualsEncodeAllThenCut) {
  const std::vector<Tokenizer> tokenizers = {tiny(), mini()};
  std::mt19937 rng(21);
  for (int round = 0; round < 120; ++round) {
    const std::string text = hostile_text(rng, rng() % 30000);
    for (const Tokenizer& tokenizer : tokenizers) {
      const size_t count = tokenizer.encode(text).value().size();
      expect_cuts_equal(tokenizer, text, {1, 2, 1 + rng() % 50, 1 + rng() % 600, 1 + rng() % 4000, count - 1, count});
    }
  }
}

std::string mini_json() {
  std::ifstream file(std::string(QUERN_SOURCE_DIR) + "/models/quern-mini/tokenizer.json", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<int32_t> ids_of(const TokenizerTables& tables, std::string_view text, Ending ending) {
  Encoder encoder(tables);
  EXPECT_TRUE(encoder.add_text(text, ending).ok());
  return encoder.ids();
}

TEST(Truncation, WhatABeginningIsSureOfIsHowEveryTextBegins) {
  // Every prefix of every text, so that each layer is cut at each of its worst places.
  const TokenizerTables tables = spaced();
  std::mt19937 rng(22);
  size_t sure = 0, all = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string text = hostile_text(rng, 1 + rng() % 70);
    const std::vector<int32_t> whole = ids_of(tables, text, Ending::kClosed);
    for (size_t end = 0; end <= text.size(); ++end) {
      const std::string_view begin = std::string_view(text).substr(0, end);
      if (valid_utf8_prefix(begin) != end) continue;
      const std::vector<int32_t> ids = ids_of(tables, begin, Ending::kOpen);
      ASSERT_LE(ids.size(), whole.size()) << text;
      ASSERT_TRUE(std::equal(ids.begin(), ids.end(), whole.begin())) << end << " bytes of: " << text;
      if (end == text.size()) sure += ids.size(), all += whole.size();
    }
  }
  EXPECT_GT(sure, all / 2) << "of " << all;
}

TEST(Truncation, WhatAnEndingIsSureOfIsHowEveryTextEnds) {
  const TokenizerTables tables = spaced();
  std::mt19937 rng(23);
  size_t sure = 0, all = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string text = hostile_text(rng, 1 + rng() % 70);
    const std::vector<int32_t> whole = ids_of(tables, text, Ending::kClosed);
    for (size_t before = 0; before < text.size(); ++before) {
      const size_t start = last_safe_start(tables, text, before);
      ASSERT_LE(start, before);
      Encoder encoder(tables);
      EXPECT_TRUE(encoder.add_ending(std::string_view(text).substr(start), start > 0, text.size() - before).ok());
      const std::vector<int32_t>& ids = encoder.ids();
      ASSERT_LE(ids.size(), whole.size()) << text;
      ASSERT_TRUE(std::equal(ids.rbegin(), ids.rend(), whole.rbegin())) << start << ", " << before << " of: " << text;
      ASSERT_TRUE(!encoder.is_whole() || ids == whole) << start << ", " << before << " of: " << text;
      if (2 * before < text.size()) sure += ids.size(), all += whole.size();
    }
  }
  EXPECT_GT(sure, all / 4) << "of " << all;
}

TEST(Truncation, TheFirstReadIsEnoughForLongWords) {
  // What encode() reads of a text to cut is some bytes for each token to keep; of these, enough ids must be sure.
  TokenizerTables tables = parse_tokenizer_json(mini_json(), "mini.json").value();
  tables.serial = UINT32_MAX - 1;
  constexpr size_t kRoom = 500, kBytes = kRoom * 8 + 4096;
  std::string letters, marks = "e";
  std::mt19937 rng(24);
  while (letters.size() < kBytes) letters += static_cast<char>('a' + rng() % 26);
  while (marks.size() < kBytes) marks += "e\u0301\u0316";
  for (const std::string& text : {std::string(kBytes, 'a'), letters, marks, std::string(kBytes, '\''),
                                  std::string(kBytes, '<'), std::string(kBytes, '\n')}) {
    EXPECT_GE(ids_of(tables, std::string_view(text).substr(0, valid_utf8_prefix(text)), Ending::kOpen).size(), kRoom)
        << text.substr(0, 40);
  }
}

TEST(Truncation, ATextTooLongByItsBytesIsRefusedBeforeItIsTokenized) {
  const Tokenizer tokenizer = mini();
  const size_t bytes_per_token = 4 * 23;  // of the longest token, four times as many before NFC
  EXPECT_EQ(tokenizer.min_tokens(0), 0u);
  EXPECT_EQ(tokenizer.min_tokens(1), 1u);
  EXPECT_EQ(tokenizer.min_tokens(10 * bytes_per_token + 1), 11u);
  // Invalid UTF-8 is not even looked for.
  const std::string text(101 * bytes_per_token, '\xFF');
  EXPECT_EQ(tokenizer.encode(text, {.tokens_max = 101}).error().message,
            "text has at least 102 tokens, the limit is 101");
  EXPECT_THAT(tokenizer.encode(text, {.tokens_max = 102}).error().message, HasSubstr("not valid UTF-8"));
  EXPECT_EQ(tokenizer.encode("a", text, {.tokens_max = 102}).error().message,
            "text has at least 103 tokens, the limit is 102")
      << "with its prompt";
  // After NFC the bytes are known: 101 tokens' worth of bytes, in a quarter of the bytes refused above.
  EXPECT_EQ(tokenizer.encode(std::string(23 * 101, 'x'), {.tokens_max = 101}).error().message,
            "text has at least 102 tokens, the limit is 101");
}

TEST(Truncation, PromptAndTextAreOneText) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.encode("a", "bc", {}).value(), tokenizer.encode("abc").value());
  EXPECT_EQ(tokenizer.encode("", "bc", {}).value(), tokenizer.encode("bc").value());
  EXPECT_EQ(tokenizer.encode("<e", "os>e", {.tokens_max = 2, .truncation = Truncation::kRight}).value(),
            (std::vector<int32_t>{260, 260}));
  EXPECT_EQ(tokenizer.encode("a", "b\xFF", {}).error().message, "text is not valid UTF-8 at byte 1");
  EXPECT_EQ(tokenizer.encode("a\xFF", "b", {}).error().message, "prompt is not valid UTF-8 at byte 1");
}

TEST(Unicode, NfcShrinksNoMoreThanTold) {
  // The longest spelling of each character: of each part of its full decomposition, the longest that decomposes to it.
  const auto decomposed = [](const std::string& text) {
    auto* nfd = utf8proc_NFD(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str()));
    std::string out(reinterpret_cast<const char*>(nfd));
    std::free(nfd);
    return out;
  };
  std::map<std::string, size_t> longest;
  std::map<std::string, std::string> parts_of;
  for (char32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const std::string parts = decomposed(text);
    size_t& bytes = longest[parts];
    bytes = std::max(bytes, text.size());
    if (parts != text) parts_of.emplace(text, parts);
  }
  for (const auto& [text, parts] : parts_of) {
    size_t bytes = 0;
    for (size_t at = 0, next = 0; at < parts.size(); at = next) {
      next_code_point(parts, next);
      bytes += std::max(longest[parts.substr(at, next - at)], next - at);
    }
    ASSERT_LE(text.size(), bytes) << text;
    std::string buffer;
    EXPECT_LE(bytes, kNfcShrinkMax * to_nfc(text, buffer).size()) << text;
  }
}

}  // namespace
}  // namespace quern
