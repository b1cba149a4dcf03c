#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "tokenizer/splitter.h"
#include "tokenizer/tiny_tokenizer.h"
#include "tokenizer/tokenizer_json.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Tokenizer tiny() { return Tokenizer::from_json(tiny_tokenizer_json(), "tiny.json").value(); }

std::string replaced(std::string json, const std::string& from, const std::string& to) {
  const size_t at = json.find(from);
  EXPECT_NE(at, json.npos) << from;
  return at == json.npos ? json : json.replace(at, from.size(), to);
}

std::string load_error(const std::string& json) {
  auto loaded = Tokenizer::from_json(json, "tiny.json");
  return loaded.ok() ? "loaded" : loaded.error().message;
}

/// Text over characters that the pattern and NFC tell apart, long runs among them. Only characters on whose class
/// PCRE2 10.42 and `tokenizers` agree.
std::u32string random_characters(std::mt19937& rng) {
  static const std::u32string kAlphabet =
      U"aSsTtRrEeVvLlMmDd''''  \t\r\n\n\u0085\u00a0\u3000,.!123\u0664\u00bd\u017f\u00e9e\u0301"
      U"\u0316\u0345\u4e2d\uac00\u1100\u1161\u11a8\U0001F600\u200d\u212b\u0958";
  std::u32string text;
  const size_t size = rng() % 40;
  while (text.size() < size) text.append(rng() % 8 == 0 ? rng() % 6 : 1, kAlphabet[rng() % kAlphabet.size()]);
  return text;
}

std::string to_utf8(const std::u32string& text) {
  std::string out;
  for (char32_t c : text) append_utf8(out, c);
  return out;
}

TEST(Splitter, ScannerEqualsPcre2OnRandomText) {
  for (const std::string& pattern :
       {std::string(kQwenPattern), replaced(kQwenPattern, R"(|\p{N}|)", R"(|\p{N}{1,3}|)")}) {
    const Splitter scanner = Splitter::make(pattern).value();
    const Splitter oracle = Splitter::make_pcre2(pattern).value();
    ASSERT_TRUE(scanner.scans()) << pattern;
    ASSERT_FALSE(oracle.scans());
    std::mt19937 rng(7);
    for (int round = 0; round < 20000; ++round) {
      const std::string text = to_utf8(random_characters(rng));
      for (size_t at = 0; at < text.size();) {
        const size_t end = oracle.word_end(text, at).value();
        ASSERT_EQ(scanner.scan(text, at), end) << "round " << round << " at " << at << " of: " << text;
        at = end;
      }
    }
  }
}

TEST(Splitter, TextBetweenMatchesIsAWord) {
  const Splitter splitter = Splitter::make("b+").value();
  EXPECT_EQ(splitter.word_end("aabba", 0).value(), 2u);
  EXPECT_EQ(splitter.word_end("aabba", 2).value(), 4u);
  EXPECT_EQ(splitter.word_end("aabba", 4).value(), 5u);
  EXPECT_THAT(Splitter::make("(").error().message, HasSubstr("byte 1"));
}

TEST(Nfc, EqualsUtf8procOnRandomText) {
  std::mt19937 rng(8);
  for (int round = 0; round < 20000; ++round) {
    const std::string text = to_utf8(random_characters(rng));
    auto* expected = utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str()));
    std::string buffer;
    ASSERT_EQ(to_nfc(text, buffer), reinterpret_cast<const char*>(expected)) << "round " << round;
    std::free(expected);
  }
}

TEST(Tokenizer, MergesByRankAndAppendsEosOnce) {
  const Tokenizer tokenizer = tiny();
  EXPECT_THAT(tokenizer.encode("abc").value(), ElementsAre(257, 260));
  EXPECT_THAT(tokenizer.encode("aaaaa").value(), ElementsAre(259, 'a', 260));
  EXPECT_THAT(tokenizer.encode("aab").value(), ElementsAre('a', 256, 260));  // a b outranks a a
  EXPECT_THAT(tokenizer.encode("").value(), ElementsAre(260));
  EXPECT_THAT(tokenizer.encode("a<x>b<eos>").value(), ElementsAre('a', 261, 'b', 260, 260));
  EXPECT_THAT(tokenizer.encode("e\u0301").value(), ElementsAre(0xC3, 0xA9, 260));
  EXPECT_THAT(tokenizer.encode("ab", {.add_special_tokens = false}).value(), ElementsAre(256));
  EXPECT_EQ(tokenizer.vocab_size(), 262u);
  EXPECT_EQ(tokenizer.id_to_token(261), "<x>");
  EXPECT_EQ(tokenizer.id_to_token(262), std::nullopt);
  EXPECT_EQ(tokenizer.eos_id(), 260);
}

TEST(Tokenizer, TruncationKeepsRoomForEos) {
  const Tokenizer tokenizer = tiny();
  EXPECT_THAT(tokenizer.encode("1 2 3", {.tokens_max = 3, .truncation = Truncation::kRight}).value(),
              ElementsAre('1', ' ', 260));
  EXPECT_THAT(tokenizer.encode("1 2 3", {.tokens_max = 3, .truncation = Truncation::kLeft}).value(),
              ElementsAre(' ', '3', 260));
  EXPECT_THAT(tokenizer.encode("123", {.tokens_max = 4}).value(), ElementsAre('1', '2', '3', 260));
  const std::string message = tokenizer.encode("123", {.tokens_max = 3}).error().message;
  EXPECT_EQ(message, "text has 4 tokens, the limit is 3");
  EXPECT_THAT(tokenizer.encode("1", {.tokens_max = 0}).error().message, HasSubstr("no room"));
}

TEST(Tokenizer, InvalidUtf8NamesTheByte) {
  const Tokenizer tokenizer = tiny();
  for (const char* bad : {"ab\xFF", "ab\xC3", "ab\xED\xA0\x80", "ab\xC0\x80", "ab\xF4\x90\x80\x80"}) {
    EXPECT_EQ(tokenizer.encode(bad).error().message, "text is not valid UTF-8 at byte 2");
  }
}

TEST(Tokenizer, DecodeMendsUtf8AndRefusesUnknownIds) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{257, 0xC3, 0xA9, 261, 260}).value(), "abc\u00e9<x>");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{260}, false).value(), "<eos>");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{0xE4, 0xB8, 'a'}).value(), "\uFFFDa");
  EXPECT_THAT(tokenizer.decode(std::vector<int32_t>{1, -1}).error().message, HasSubstr("token 1 has id -1"));
  EXPECT_FALSE(tokenizer.decode(std::vector<int32_t>{262}).ok());
}

TEST(Tokenizer, LongWordsGoThroughTheHeapWithTheSameIds) {
  // The merges of one long word against the same merges found by a naive search.
  const Bpe bpe = parse_tokenizer_json(tiny_tokenizer_json(), "tiny.json").value().bpe;
  std::mt19937 rng(9);
  for (int round = 0; round < 2000; ++round) {
    std::string word;
    const size_t size = 1 + rng() % 150;
    while (word.size() < size) word.push_back("aaabbc"[rng() % 6]);
    std::vector<int32_t> expected(word.begin(), word.end());
    for (bool merged = true; merged;) {
      merged = false;
      size_t best = 0;
      for (size_t i = 0; i + 1 < expected.size(); ++i) {
        const auto rank = [&](size_t at) { return bpe.merges.find(expected[at], expected[at + 1]).rank; };
        if (rank(i) != MergeTable::kNoRank && (!merged || rank(i) < rank(best))) {
          best = i;
          merged = true;
        }
      }
      if (!merged) break;
      expected[best] = bpe.merges.find(expected[best], expected[best + 1]).id;
      expected.erase(expected.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
    std::vector<int32_t> ids;
    bpe.encode_word(word, ids);
    ASSERT_EQ(ids, expected) << word;
  }
}

TEST(Tokenizer, HostileMegabytesEndAndComeBack) {
  // A quadratic step would take minutes here; the ids are checked by decoding.
  const Tokenizer tokenizer = tiny();
  constexpr size_t kBytes = 1 << 20;
  std::string marks, distinct;
  for (size_t i = 0; i < kBytes / 4; ++i) marks += i % 2 == 0 ? "\u0316" : "\u0334";
  for (size_t i = 0; i < kBytes; ++i) distinct.push_back(static_cast<char>('a' + i * i % 26));
  for (const std::string& text : {std::string(kBytes, 'a'), distinct, std::string(kBytes, ' ') + "x",
                                  std::string(kBytes, '\''), marks, std::string(kBytes, '<')}) {
    std::string buffer;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text).value()).value(), to_nfc(text, buffer));
  }
}

TEST(Tokenizer, ManyThreadsGetTheSameIds) {
  const Tokenizer tokenizer = tiny();
  const std::vector<int32_t> expected = tokenizer.encode("abc aaaa it's <x>").value();
  std::vector<std::thread> threads;
  std::array<bool, 4> equal{};
  for (bool& mine : equal) {
    threads.emplace_back([&] {
      mine = true;
      for (int i = 0; i < 500; ++i) mine = mine && tokenizer.encode("abc aaaa it's <x>").value() == expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(equal, testing::Each(true));
}

TEST(Tokenizer, TwoTokenizersOfOneThreadDoNotShareWords) {
  const Tokenizer first = tiny();
  const Tokenizer second =
      Tokenizer::from_json(replaced(tiny_tokenizer_json(), R"("a b",["ab","c"],)", ""), "x").value();
  EXPECT_THAT(first.encode("abc").value(), ElementsAre(257, 260));
  EXPECT_THAT(second.encode("abc").value(), ElementsAre('a', 'b', 'c', 260));
  EXPECT_THAT(first.encode("abc").value(), ElementsAre(257, 260));
}

TEST(TokenizerJson, IgnoreMergesTakesWholeTokens) {
  std::string json = replaced(tiny_tokenizer_json(), R"("ignore_merges":false)", R"("ignore_merges":true)");
  json = replaced(json, R"(["ab","c"],)", "");
  EXPECT_THAT(Tokenizer::from_json(json, "x").value().encode("abc").value(), ElementsAre(257, 260));
}

TEST(TokenizerJson, TheEndTokenIsThePostProcessorsUnlessAskedFor) {
  std::string json = tiny_tokenizer_json();
  const size_t begin = json.find(R"("post_processor":)");
  json.replace(begin, json.find(R"("decoder")") - begin, R"("post_processor":null,)");
  Tokenizer none = Tokenizer::from_json(json, "x").value();
  EXPECT_THAT(none.encode("a").value(), ElementsAre('a'));
  EXPECT_FALSE(none.appends_eos());
  EXPECT_THAT(none.append_eos(999).error().message, HasSubstr("999"));
  EXPECT_FALSE(none.appends_eos());
  ASSERT_TRUE(none.append_eos(260).ok());
  EXPECT_THAT(none.encode("a").value(), ElementsAre('a', 260));
  Tokenizer given = tiny();
  ASSERT_TRUE(given.append_eos(3).ok());
  EXPECT_THAT(given.encode("a").value(), ElementsAre('a', 260)) << "the file's own stays";
}

TEST(TokenizerJson, RefusesByFileAndField) {
  const struct {
    const char *from, *to, *field;
  } cases[] = {
      {R"("normalizer":{"type":"NFC"})", R"("normalizer":{"type":"NFKC"})", "normalizer"},
      {R"("behavior":"Isolated")", R"("behavior":"Removed")", "pretokenizers[0].behavior"},
      {R"("invert":false)", R"("invert":true)", "pretokenizers[0].invert"},
      {R"("use_regex":false)", R"("use_regex":true)", "pretokenizers[1].use_regex"},
      {R"("type":"BPE")", R"("type":"Unigram")", "model.type"},
      {R"("dropout":null)", R"("dropout":0.5)", "model.dropout"},
      {R"("lstrip":false)", R"("lstrip":true)", "added_tokens[0].lstrip"},
      {R"("single_word":false)", R"("single_word":true)", "added_tokens[0].single_word"},
      {R"("id":261)", R"("id":5)", "added_tokens[1].id"},
      {R"("id":261)", R"("id":262)", "added_tokens[1].id"},
      {R"("aa aa")", R"("aa  aa")", "model.merges[3]"},
      {R"("aa aa")", R"("aa zz")", "model.merges[3]"},
      {R"("aaaa":259)", R"("aaaa":258)", "model.vocab[\"aaaa\"]"},
      {R"("b":98,)", "", "has no token for byte 98"},
      {R"([{"Sequence")", R"([{"SpecialToken":{"id":"<eos>"}},{"Sequence")", "post_processor.single"},
      {R"("ids":[260])", R"("ids":[7777])", "post_processor"},
  };
  EXPECT_EQ(load_error(tiny_tokenizer_json()), "loaded");
  for (const auto& c : cases) {
    const std::string message = load_error(replaced(tiny_tokenizer_json(), c.from, c.to));
    EXPECT_THAT(message, HasSubstr("tiny.json: ")) << c.to;
    EXPECT_THAT(message, HasSubstr(c.field)) << c.to;
    EXPECT_EQ(message.find(c.field), message.rfind(c.field)) << "named twice: " << message;
  }
  EXPECT_THAT(load_error("{"), HasSubstr("not JSON"));
  EXPECT_THAT(load_error("\xEF\xBB\xBF" + tiny_tokenizer_json()), HasSubstr("byte-order mark"));
  EXPECT_THAT(load_error("\xFF\xFE{"), HasSubstr("byte-order mark"));
  EXPECT_THAT(load_error("[]"), HasSubstr("must be a JSON object"));
}

}  // namespace
}  // namespace quern
