// The reader against simdjson: what one accepts the other does, and both read the same.
#include "api/json_reader.h"

#include <gtest/gtest.h>
#include <simdjson.h>
#include <sys/resource.h>

#include <cstring>
#include <random>

#include "api/test_config.h"

namespace quern {
namespace {

// Writes what was read in one way for both: strings by their bytes, numbers by their bits.
void append_number(std::string& out, double value) {
  char bytes[8];
  std::memcpy(bytes, &value, 8);
  out.append("#").append(bytes, 8);
}

void dump(const simdjson::dom::element& value, std::string& out) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY:
      out.append("[");
      for (const simdjson::dom::element item : simdjson::dom::array(value)) dump(item, out);
      out.append("]");
      break;
    case simdjson::dom::element_type::OBJECT:
      out.append("{");
      for (const auto& [key, item] : simdjson::dom::object(value)) {
        out.append("'").append(key).append("'");
        dump(item, out);
      }
      out.append("}");
      break;
    case simdjson::dom::element_type::STRING:
      out.append("'").append(value.get_string().value_unsafe()).append("'");
      break;
    case simdjson::dom::element_type::BOOL:
      out.append(value.get_bool().value_unsafe() ? "t" : "f");
      break;
    case simdjson::dom::element_type::NULL_VALUE:
      out.append("n");
      break;
    default:
      append_number(out, value.get_double().value_unsafe());
  }
}

bool dump(JsonReader& reader, std::string& out) {
  JsonKind kind = JsonKind::kNull;
  if (!reader.peek(kind)) return false;
  JsonString string;
  JsonNumber number;
  bool flag = false;
  switch (kind) {
    case JsonKind::kArray: {
      out.append("[");
      const bool read = reader.each_element([&] { return dump(reader, out); });
      out.append("]");
      return read;
    }
    case JsonKind::kObject: {
      out.append("{");
      const bool read = reader.each_field([&](const JsonString& key) {
        out.append("'").append(reader.text(key)).append("'");
        return dump(reader, out);
      });
      out.append("}");
      return read;
    }
    case JsonKind::kString:
      if (!reader.read_string(string)) return false;
      out.append("'").append(reader.text(string)).append("'");
      return true;
    case JsonKind::kBool:
      if (!reader.read_bool(flag)) return false;
      out.append(flag ? "t" : "f");
      return true;
    case JsonKind::kNull:
      out.append("n");
      return reader.read_null();
    case JsonKind::kNumber:
      if (!reader.read_number(number)) return false;
      append_number(out, number.is_integer && number.real == 0 ? static_cast<double>(number.integer) : number.real);
      return true;
  }
  return false;
}

constexpr int kDepthMax = 16;

// True when both agree on `text`; `accepted` says on what.
bool agrees(const std::string& text, bool& accepted) {
  simdjson::dom::parser parser;
  simdjson::dom::element document;
  const bool theirs = parser.parse(text).get(document) == simdjson::SUCCESS;
  std::string copy = text;
  std::string read;
  JsonReader reader(copy, 1024, "The text");
  const bool ours = dump(reader, read) && reader.read_end();
  EXPECT_EQ(ours, reader.ok()) << text;
  std::string skipped = text;
  JsonReader skipper(skipped, 1024, "The text");
  EXPECT_EQ(skipper.skip() && skipper.read_end(), ours) << text;
  EXPECT_EQ(skipped, text) << "skip() changed the text";
  accepted = ours;
  if (ours != theirs) return false;
  if (!ours) return !reader.error().message.empty() && reader.error().message.size() < 300;
  std::string expected;
  dump(document, expected);
  EXPECT_EQ(read, expected) << text;
  return read == expected;
}

TEST(JsonReader, AgreesWithSimdjsonOnHandMadeTexts) {
  for (const char* text : {"{}",
                           "[]",
                           "null",
                           "true",
                           "false",
                           "0",
                           "-0",
                           "1.5e3",
                           "\"\"",
                           "[1,2]",
                           "{\"a\":{\"b\":[{}]}}",
                           " [ ] ",
                           "[1,]",
                           "[,1]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{1:1}",
                           "[1 2]",
                           "01",
                           "-",
                           "+1",
                           "1.",
                           ".5",
                           "1e",
                           "1e+",
                           "0x1",
                           "tru",
                           "truex",
                           "nul",
                           "True",
                           "NaN",
                           "Infinity",
                           "-Infinity",
                           "\"",
                           "\"\\",
                           "\"\\u12\"",
                           "\"\\u12G4\"",
                           "\"\\x\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\"",
                           "\"\\ud83d\\ude00\"",
                           "\"\\uD83D\\uDE00z\"",
                           "\"\\u0000\"",
                           "\"\\u00e9\\u4e2d\\/\\b\\f\\n\\r\\t\\\\\\\"\"",
                           "\"\t\"",
                           "\"\n\"",
                           "{} {}",
                           "[1]x",
                           "\"\xff\"",
                           "\"\xc0\xaf\"",
                           "\"\xed\xa0\x80\"",
                           "\xc3\xa4",
                           "'a'",
                           "/*c*/1",
                           "[1//\n]",
                           "9007199254740993",
                           "123456789012345678",
                           "-9223372036854775808",
                           "1e308",
                           "1e309",
                           "-1e400",
                           "1e-400",
                           "2.2250738585072014e-308",
                           "[[[[[[[[1]]]]]]]]",
                           "",
                           " ",
                           "\t\n",
                           "[\"abcdefgh\\\"ijklmnop\\\\\"]",
                           "{\"a\":1 \"b\":2}",
                           "[1}",
                           "{\"a\":1]"}) {
    bool accepted = false;
    EXPECT_TRUE(agrees(text, accepted)) << text;
  }
}

std::string random_text(std::mt19937& random, int depth) {
  const auto pick = [&random](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  switch (pick(depth > 0 ? 8 : 6)) {
    case 0:
      return pick(2) ? "null" : pick(2) ? "true" : "false";
    case 1:
      return std::to_string(static_cast<int64_t>(random()) * (pick(2) ? 1 : -1000003));
    case 2:
      return std::to_string(pick(1000)) + "." + std::to_string(pick(100000)) + (pick(2) ? "e-" : "E+") +
             std::to_string(pick(40));
    case 6: {
      std::string out = "[";
      for (int i = pick(4); i > 0; --i) out += random_text(random, depth - 1) + (i > 1 ? "," : pick(4) ? "" : " ");
      return out + "]";
    }
    case 7: {
      std::string out = "{";
      for (int i = pick(4); i > 0; --i)
        out += "\"k\\u004" + std::to_string(pick(10)) + "\":" + random_text(random, depth - 1) + (i > 1 ? "," : "");
      return out + "}";
    }
    default: {
      const char* pieces[] = {"a", "0123456789abcdef", "\\n", "\\\"", "\\u00e9", "\\ud83d\\ude00", "\xc3\xa4", "\\\\",
                              " "};
      std::string out = "\"";
      for (int i = pick(6); i > 0; --i) out += pieces[pick(9)];
      return out + "\"";
    }
  }
}

TEST(JsonReader, AgreesWithSimdjsonOnMutatedTexts) {
  std::mt19937 random(7);
  int both = 0;
  for (int round = 0; round < 30000; ++round) {
    std::string text = random_text(random, 4);
    for (auto i = static_cast<int>(random() % 3); i > 0 && !text.empty(); --i) {
      const size_t at = random() % text.size();
      const char byte = "\"\\{}[],:0-.eutn \x01\xff"[random() % 19];
      if (random() % 2)
        text[at] = byte;
      else
        text.erase(at, 1);
    }
    // simdjson refuses integers beyond 64 bits, which are numbers all the same.
    if (text.find_first_of("0123456789") != std::string::npos) {
      size_t run = 0;
      bool wide = false;
      for (char c : text) wide |= (run = c >= '0' && c <= '9' ? run + 1 : 0) > 18;
      if (wide) continue;
    }
    bool accepted = false;
    ASSERT_TRUE(agrees(text, accepted)) << text;
    both += accepted;
  }
  EXPECT_GT(both, 8000);
}

TEST(JsonReader, SaysWhatIsWrongAndWhere) {
  const std::pair<const char*, const char*> cases[] = {
      {"[1 2]", "expected ',' or ']' at byte 3, found '2'"},
      {"{\"a\":1", "expected ',' or '}' at byte 6, found the end"},
      {"[\"ab", "the string that begins at byte 1 has no end"},
      {"[\"a\\ud83d\"]", "half of a surrogate pair, \\ud83d, at byte 3"},
      {"[\"a\\ude00\"]", "half of a surrogate pair, \\ude00, at byte 3"},
      {"[\"\xc3\xa4\xff\"]", "not valid UTF-8 at byte 4"},
      {"[nul]", "expected null at byte 1"},
      {"[1]x", "expected the end at byte 3, found 'x'"},
      {"[1e999]", "a number too large, at byte 1"},
      {"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "nests deeper than 16 levels"},
  };
  for (const auto& [text, message] : cases) {
    std::string copy = text;
    JsonReader reader(copy, kDepthMax, "The text");
    EXPECT_FALSE(reader.skip() && reader.read_end());
    EXPECT_NE(reader.error().message.find(message), std::string::npos) << reader.error().message;
  }
}

// 64 MiB of token ids cost no more than as much again, whether or not they are kept.
TEST(JsonReader, LargeListsCostTheirOwnBytes) {
  const auto peak_bytes = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return int64_t{usage.ru_maxrss} * 1024;
  };
  constexpr int64_t kBytes = 64 << 20;
  std::string body = "{\"input\":[1";
  body.reserve(kBytes + 64);
  while (static_cast<int64_t>(body.size()) < kBytes) body.append(",1");
  body.append("],\"truncate\":true}");
  MemoryBudget budget(kBytes);
  const Models models({small_model()});
  const ApiConfig config = small_config();
  const int64_t before = peak_bytes();
  MemoryBudget::Lease lease(budget);
  const auto plan = parse_openai_embed({body, "", models, config, lease});
  ASSERT_TRUE(plan.ok());
  EXPECT_LT(peak_bytes() - before, kBytes);
}

}  // namespace
}  // namespace quern
