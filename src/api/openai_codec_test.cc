// The OpenAI dialect, body -> CallPlan.
#include <gtest/gtest.h>

#include "api/test_config.h"

namespace quern {
namespace {

TEST(OpenaiCodec, AcceptsTheFourKindsOfInput) {
  EXPECT_EQ(Parsed(R"({"input":"a\u00e4\n\ud83d\ude00"})").text(0), "a\u00e4\n\U0001f600");
  const Parsed two(R"({"input":["a","b"]})");
  EXPECT_EQ(two.text(0) + two.text(1), "ab");
  EXPECT_FALSE(two->single);
  EXPECT_EQ(Parsed(R"({"input":[1,998]})").ids(0), (std::vector<int32_t>{1, 998, 999}));
  EXPECT_EQ(Parsed(R"({"input":[[1],[2,999]]})").ids(1), (std::vector<int32_t>{2, 999}));
  EXPECT_EQ(Parsed("\xef\xbb\xbf{\"input\":\"bom\"} ").text(0), "bom");
}

TEST(OpenaiCodec, DefaultsAndFields) {
  const Parsed plain(R"({"input":"a"})");
  EXPECT_EQ(plain->model_name, "first");
  EXPECT_EQ(plain->dimensions, 64);
  EXPECT_EQ(plain->tokens_max, 100);
  EXPECT_FALSE(plain->base64);
  EXPECT_TRUE(plain->normalize);
  const Parsed full(
      R"({"input":"a","model":"second","dimensions":32,"encoding_format":"base64","truncate":"left","truncate_prompt_tokens":7,)"
      R"("normalize":false,"priority":-3,"timeout_ms":50,"instruction":"Do"})");
  EXPECT_EQ(full->model_name, "second");
  EXPECT_EQ(full->dimensions, 32);
  EXPECT_TRUE(full->base64);
  EXPECT_EQ(full->truncation, Truncation::kLeft);
  EXPECT_EQ(full->tokens_max, 7);
  EXPECT_FALSE(full->normalize);
  EXPECT_EQ(full->priority, -3);
  EXPECT_EQ(full->timeout_ms, 50);
  EXPECT_EQ(full->prompt, "Instruct: Do\nQuery:");
}

TEST(OpenaiCodec, DefaultQueryPromptToTheByte) {
  EXPECT_EQ(Parsed(R"({"input":"a","prompt_name":"query"})")->prompt,
            "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:");
  EXPECT_EQ(Parsed(R"({"input":"a","prompt_name":"document"})")->prompt, "");
}

TEST(OpenaiCodec, TheModelsDefaultPromptIsForTextsThatChooseNone) {
  ServedModel model = small_model();
  model.default_prompt = "Q: ";
  const auto prompt_of = [&](const std::string& fields) {
    return Parsed("{" + fields + "}", small_config(), model)->prompt;
  };
  EXPECT_EQ(prompt_of(R"("input":"x")"), "Q: ");
  EXPECT_EQ(prompt_of(R"("input":"x","prompt_name":"document")"), "");
  EXPECT_EQ(prompt_of(R"("input":"x","input_type":"passage")"), "");
  EXPECT_EQ(prompt_of(R"("input":"x","instruction":"t")"), "Instruct: t\nQuery:");
  EXPECT_EQ(prompt_of(R"("input":[1,2])"), "");
}

TEST(OpenaiCodec, WordsOfOtherClients) {
  const std::pair<const char*, Truncation> sides[] = {
      {"\"NONE\"", Truncation::kNone}, {"\"none\"", Truncation::kNone},   {"\"START\"", Truncation::kLeft},
      {"\"End\"", Truncation::kRight}, {"\"right\"", Truncation::kRight}, {"true", Truncation::kRight},
      {"false", Truncation::kNone},    {"null", Truncation::kNone}};
  for (const auto& [word, side] : sides) {
    EXPECT_EQ(Parsed(R"({"input":"a","truncate":)" + std::string(word) + "}")->truncation, side) << word;
  }
  const std::string query = default_prompts()["query"];
  for (const char* type : {"query", "search_query"})
    EXPECT_EQ(Parsed(R"({"input":"a","input_type":")" + std::string(type) + "\"}")->prompt, query) << type;
  for (const char* type : {"passage", "document", "search_document"})
    EXPECT_EQ(Parsed(R"({"input":"a","input_type":")" + std::string(type) + "\"}")->prompt, "") << type;
  const Parsed limit(R"({"truncate_prompt_tokens":-1,"input":"a"})");
  EXPECT_EQ(limit->tokens_max, 100);
  EXPECT_EQ(limit->truncation, Truncation::kRight);
  EXPECT_EQ(Parsed(R"({"input":"a","model":"gpt"})", small_config(), small_model(), "second")->model_name, "second");
}

TEST(OpenaiCodec, AnyModelName) {
  ServedModel model = small_model();
  model.names.push_back("*");
  EXPECT_EQ(Parsed(R"({"input":"a","model":"gpt-17"})", small_config(), model)->model_name, "gpt-17");
  EXPECT_EQ(Parsed(R"({"input":"a"})", small_config(), model)->model_name, "first");
  EXPECT_FALSE(Parsed(R"({"input":"a","model":")" + std::string(2000, 'x') + "\"}", small_config(), model).ok());
}

TEST(OpenaiCodec, EveryRefusalNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "input"},
      {R"({"input":""})", "input"},
      {R"({"input":[]})", "input"},
      {R"({"input":["a",""]})", "input[1]"},
      {R"({"input":["a","b","c","d"]})", "input"},
      {R"({"input":[1,1000]})", "input[1]"},
      {R"({"input":[1,18446744073709551616]})", "input[1]"},
      {R"({"input":[[1],[-1]]})", "input[1][0]"},
      {R"({"input":[[1],[]]})", "input[1]"},
      {R"({"input":["a",1]})", "input[1]"},
      {R"({"input":"a","dimensions":31})", "dimensions"},
      {R"({"input":"a","dimensions":65})", "dimensions"},
      {R"({"input":"a","dimensions":33.5})", "dimensions"},
      {R"({"input":"a","model":"third"})", "model"},
      {R"({"input":"a","prompt_name":"x"})", "prompt_name"},
      {R"({"input":"a","input_type":"x"})", "input_type"},
      {R"({"input":"a","input_type":"query","prompt_name":"query"})", "input_type"},
      {R"({"input":"a","instruction":"x","prompt_name":"query"})", "instruction"},
      {R"({"input":[1],"prompt_name":"query"})", "prompt_name"},
      {R"({"input":[1],"input_type":"query"})", "input_type"},
      {R"({"input":"a","input":"b"})", "input"},
      {R"({"input":"a","\u0069nput":"b"})", "input"},
      {R"({"input":"a","truncate_prompt_tokens":101})", "truncate_prompt_tokens"},
      {R"({"input":"a","truncate_prompt_tokens":-2})", "truncate_prompt_tokens"},
      {R"({"input":"a","truncate":"middle"})", "truncate"},
  };
  for (const auto& [body, param] : cases) {
    const Parsed parsed(body);
    ASSERT_FALSE(parsed.ok()) << body;
    EXPECT_EQ(parsed.error().param, param) << body;
    EXPECT_FALSE(parsed.error().message.empty()) << body;
  }
  EXPECT_NE(Parsed(R"({"input":[1,1000]})").error().message.find("this model's own tokenizer"), std::string::npos);
  ApiConfig config = small_config();
  config.refuse_token_ids = true;
  EXPECT_EQ(Parsed(R"({"input":[1]})", config).error().param, "input");
  EXPECT_TRUE(Parsed(R"({"input":"a"})", config).ok());
}

// Whatever string field a client fills with megabytes: the answer stays small.
TEST(OpenaiCodec, LargeTextsAreNotRepeated) {
  const std::string model(60 << 20, 'x');
  EXPECT_LT(Parsed(R"({"input":"a","model":")" + model + "\"}").error().message.size(), 1024u);
  const std::string large(4 << 20, 'x');
  for (const char* field : {"model", "encoding_format", "prompt_name", "instruction", "input_type", "truncate",
                            "dimensions", "priority", "normalize", "timeout_ms", "truncate_prompt_tokens"}) {
    const Parsed parsed(R"({"input":"a",")" + std::string(field) + "\":\"" + large + "\"}");
    ASSERT_FALSE(parsed.ok()) << field;
    EXPECT_LT(parsed.error().message.size() + parsed.error().param.size(), 1024u) << field;
  }
  const Parsed twice("{\"input\":\"a\",\"" + large + "\":1,\"" + large + "\":2}");
  ASSERT_FALSE(twice.ok());
  EXPECT_LT(twice.error().message.size() + twice.error().param.size(), 1024u);
  for (const std::string& body :
       {R"({"input":[1,")" + large + "\"]}", R"({"input":[[1],")" + large + "\"]}", "\"" + large + "\"", large}) {
    const Parsed parsed(body);
    ASSERT_FALSE(parsed.ok());
    EXPECT_LT(parsed.error().message.size(), 1024u);
  }
}

// What the cut of ids must equal, from its definition.
std::vector<int32_t> naive_cut(std::vector<int32_t> ids, size_t tokens_max, Truncation side, int32_t eos) {
  if (ids.back() != eos) ids.push_back(eos);
  if (ids.size() <= tokens_max) return ids;
  ids.pop_back();
  if (side == Truncation::kLeft) {
    ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(tokens_max - 1));
  } else {
    ids.resize(tokens_max - 1);
  }
  ids.push_back(eos);
  return ids;
}

TEST(OpenaiCodec, TokenIdsAreCutAsTheyAreRead) {
  for (int count = 1; count <= 40; ++count) {
    for (bool has_eos : {false, true}) {
      std::vector<int32_t> ids;
      for (int i = 1; i <= count; ++i) ids.push_back(i);
      if (has_eos) ids.push_back(999);
      std::string list;
      for (int32_t id : ids) list.append(list.empty() ? "" : ",").append(std::to_string(id));
      for (int tokens_max : {1, 2, 3, 7, 20, 40, 41, 42}) {
        for (const char* side : {"left", "right"}) {
          const Parsed parsed("{\"input\":[[" + list + "],[5]],\"truncate\":\"" + side +
                              "\",\"truncate_prompt_tokens\":" + std::to_string(tokens_max) + "}");
          ASSERT_TRUE(parsed.ok());
          const auto expected = naive_cut(ids, static_cast<size_t>(tokens_max),
                                          side[0] == 'l' ? Truncation::kLeft : Truncation::kRight, 999);
          EXPECT_EQ(parsed.ids(0), expected) << count << " " << tokens_max << " " << side;
          EXPECT_EQ(parsed.held_bytes, static_cast<int64_t>(4 * (expected.size() + parsed.ids(1).size())));
        }
      }
    }
  }
  ServedModel model = small_model();
  model.eos_token_id.reset();
  EXPECT_EQ(Parsed(R"({"input":[1,2,3],"truncate_prompt_tokens":2})", small_config(), model).ids(0),
            (std::vector<int32_t>{1, 2}));
  std::string long_list = "1";
  for (int i = 0; i < 100; ++i) long_list += ",1";
  EXPECT_NE(Parsed("{\"input\":[" + long_list + "]}").error().message.find("102 tokens"), std::string::npos);
}

TEST(OpenaiCodec, IdsBeyondTheBudgetAreRefused) {
  const Parsed never(R"({"input":[[1,2,3],[4]]})", small_config(), small_model(), "", 20);
  ASSERT_FALSE(never.ok());
  EXPECT_EQ(never.error().code, ErrorCode::kPayloadTooLarge);
  EXPECT_NE(never.error().message.find("--max-buffered-bytes"), std::string::npos);
  EXPECT_TRUE(Parsed(R"({"input":[[1,2,3],[4]]})", small_config(), small_model(), "", 24).ok());
}

TEST(OpenaiCodec, FieldsWithoutEnd) {
  std::string body = "{\"input\":\"a\"";
  for (int i = 0; i < 300; ++i) body += ",\"f" + std::to_string(i) + "\":1";
  EXPECT_FALSE(Parsed(body + "}").ok());
}

TEST(OpenaiCodec, AnswerFitsWhatWasReserved) {
  std::vector<Output> outputs(3);
  for (Output& output : outputs) output.values.assign(64, -1.1754944e-38f);
  for (const char* format : {"float", "base64"}) {
    const Parsed parsed("{\"input\":[\"a\",\"b\",\"c\"],\"encoding_format\":\"" + std::string(format) + "\"}");
    const std::string body = write_openai_embed(parsed.plan.value(), outputs, 1'000'000'000);
    EXPECT_LE(static_cast<int64_t>(body.capacity()), openai_embed_bytes(parsed.plan.value())) << format;
  }
}

}  // namespace
}  // namespace quern
