#include <gtest/gtest.h>
#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "api/auth.h"
#include "api/base64.h"
#include "api/embed_request.h"
#include "api/embed_response.h"
#include "api/errors.h"
#include "api/json_writer.h"
#include "api/openapi.h"
#include "api/request_record.h"
#include "observe/log.h"

namespace quern {
namespace {

ApiConfig small_config() {
  ApiConfig config;
  config.model_names = {"first", "second"};
  config.width = 64;
  config.context_tokens_max = 100;
  config.vocab_tokens = 1000;
  config.inputs_max = 3;
  config.prompts = default_prompts();
  return config;
}

Result<EmbedRequest> parse(std::string body) { return parse_embed_request(body, small_config()); }

// One bit at a time, from the definition in RFC 4648.
std::string naive_base64(std::span<const unsigned char> bytes) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  int bits = 0;
  int value = 0;
  for (unsigned char byte : bytes) {
    for (int bit = 7; bit >= 0; --bit) {
      value = value * 2 + (byte >> bit & 1);
      if (++bits == 6) {
        out.push_back(alphabet[static_cast<size_t>(value)]);
        bits = value = 0;
      }
    }
  }
  if (bits > 0) out.push_back(alphabet[static_cast<size_t>(value << (6 - bits))]);
  while (out.size() % 4 != 0) out.push_back('=');
  return out;
}

TEST(Base64, EqualsTheNaiveOne) {
  std::mt19937 random(1);
  for (size_t size : {0, 1, 2, 3, 4, 5, 31, 32, 33, 1023, 1024, 4096}) {
    std::vector<float> values(size);
    for (float& value : values) {
      const auto bits = static_cast<uint32_t>(random());
      std::memcpy(&value, &bits, 4);
    }
    std::string out = "before:";
    append_base64(out, values);
    const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
    EXPECT_EQ(out, "before:" + naive_base64({bytes, size * 4})) << size;
  }
}

TEST(JsonWriter, FloatsReadBackBitwise) {
  std::mt19937 random(2);
  std::vector<float> values = {0.0f,
                               -0.0f,
                               1.0f,
                               -1.0f,
                               std::numeric_limits<float>::min(),
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::denorm_min(),
                               -std::numeric_limits<float>::max(),
                               0.1f};
  while (values.size() < 5000) {
    const auto bits = static_cast<uint32_t>(random());
    float value = 0;
    std::memcpy(&value, &bits, 4);
    if (std::isfinite(value)) values.push_back(value);
  }
  std::string out;
  append_json_floats(out, values);
  ASSERT_EQ(out.front(), '[');
  const char* at = out.data() + 1;
  for (float value : values) {
    float read = 0;
    at = std::from_chars(at, out.data() + out.size(), read).ptr;
    ASSERT_EQ(std::memcmp(&read, &value, 4), 0) << value;
    ++at;
  }
  EXPECT_EQ(at, out.data() + out.size());
  std::string empty;
  append_json_floats(empty, {});
  EXPECT_EQ(empty, "[]");
}

TEST(JsonWriter, AnyBytesBecomeValidJson) {
  std::mt19937 random(3);
  simdjson::dom::parser parser;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes(random() % 24, '\0');
    for (char& byte : bytes) byte = static_cast<char>(round % 2 ? random() : "\xe2\x82\xac\"\\\n\x01z"[random() % 8]);
    std::string json;
    append_json_string(json, bytes);
    std::string_view text;
    ASSERT_EQ(parser.parse(json).get_string().get(text), simdjson::SUCCESS) << json;
    if (simdjson::validate_utf8(bytes)) {
      EXPECT_EQ(text, bytes);
    }
  }
}

TEST(EmbedRequest, AcceptsTheFourKindsOfInput) {
  EXPECT_EQ(std::get<std::string>(parse(R"({"input":"a\u00e4"})")->inputs[0]), "a\u00e4");
  EXPECT_EQ(parse(R"({"input":["a","b"]})")->inputs.size(), 2u);
  EXPECT_EQ(std::get<std::vector<int32_t>>(parse(R"({"input":[1,999]})")->inputs[0]), (std::vector<int32_t>{1, 999}));
  EXPECT_EQ(parse(R"({"input":[[1],[2,3]]})")->inputs.size(), 2u);
}

TEST(EmbedRequest, DefaultsAndFields) {
  const auto plain = parse(R"({"input":"a"})");
  EXPECT_EQ(plain->model, "first");
  EXPECT_EQ(plain->dimensions, 64);
  EXPECT_EQ(plain->tokens_max, 100);
  EXPECT_EQ(plain->encoding_format, EncodingFormat::kFloat);
  EXPECT_TRUE(plain->normalize);
  const auto full = parse(
      R"({"input":"a","model":"second","dimensions":32,"encoding_format":"base64","truncate":"left","truncate_prompt_tokens":7,)"
      R"("normalize":false,"priority":-3,"timeout_ms":50,"instruction":"Do"})");
  EXPECT_EQ(full->model, "second");
  EXPECT_EQ(full->dimensions, 32);
  EXPECT_EQ(full->encoding_format, EncodingFormat::kBase64);
  EXPECT_EQ(full->truncate, Truncate::kLeft);
  EXPECT_EQ(full->tokens_max, 7);
  EXPECT_FALSE(full->normalize);
  EXPECT_EQ(full->priority, -3);
  EXPECT_EQ(full->timeout_ms, 50);
  EXPECT_EQ(full->prompt, "Instruct: Do\nQuery:");
}

TEST(EmbedRequest, DefaultQueryPromptToTheByte) {
  EXPECT_EQ(parse(R"({"input":"a","prompt_name":"query"})")->prompt,
            "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:");
  EXPECT_EQ(parse(R"({"input":"a","prompt_name":"document"})")->prompt, "");
}

TEST(EmbedRequest, EveryRefusalNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "input"},
      {R"({"input":""})", "input"},
      {R"({"input":[]})", "input"},
      {R"({"input":["a",""]})", "input[1]"},
      {R"({"input":["a","b","c","d"]})", "input"},
      {R"({"input":[1,1000]})", "input[1]"},
      {R"({"input":[[1],[-1]]})", "input[1][0]"},
      {R"({"input":["a",1]})", "input[1]"},
      {R"({"input":"a","dimensions":31})", "dimensions"},
      {R"({"input":"a","dimensions":65})", "dimensions"},
      {R"({"input":"a","dimensions":33.5})", "dimensions"},
      {R"({"input":"a","model":"third"})", "model"},
      {R"({"input":"a","prompt_name":"x"})", "prompt_name"},
      {R"({"input":[1],"prompt_name":"query"})", "prompt_name"},
      {R"({"input":"a","input":"b"})", "input"},
      {R"({"input":"a","truncate_prompt_tokens":101})", "truncate_prompt_tokens"},
  };
  for (const auto& [body, param] : cases) {
    const auto parsed = parse(body);
    ASSERT_FALSE(parsed.ok()) << body;
    EXPECT_EQ(parsed.error().param, param) << body;
    EXPECT_FALSE(parsed.error().message.empty()) << body;
  }
}

TEST(EmbedRequest, HostileJson) {
  for (const std::string& body :
       {std::string(), std::string("{"), std::string(R"({"input":NaN})"), std::string(R"({"input":"\ud800"})"),
        std::string("{\"input\":\"\xff\"}"), std::string(100000, '['),
        R"({"input":"a","x":)" + std::string(40, '[') + std::string(40, ']') + "}"}) {
    EXPECT_FALSE(parse(body).ok()) << body.substr(0, 50);
  }
  EXPECT_TRUE(parse(R"({"input":"a","x":)" + std::string(20, '[') + std::string(20, ']') + "}").ok());
  // After a refusal the kept parser works as before.
  EXPECT_TRUE(parse(R"({"input":"a"})").ok());
}

TEST(EmbedResponse, CheckVectorStopsWhatIsNotAUnitVector) {
  Output good;
  good.values.assign(64, 0.125f);
  EXPECT_TRUE(check_vector(good, 64, "input").ok());
  EXPECT_FALSE(check_vector(good, 65, "input").ok());
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity(), 1.0f}) {
    for (size_t at : {size_t{0}, size_t{31}, size_t{63}}) {
      Output vector = good;
      vector.values[at] = bad;
      EXPECT_FALSE(check_vector(vector, 64, "input").ok()) << bad << " at " << at;
    }
  }
  EXPECT_FALSE(check_vector(Output{std::vector<float>(64, 0.0f)}, 64, "input").ok());
}

TEST(EmbedResponse, CutVectorNormalisesAgain) {
  Output vector;
  vector.values.assign(64, 0.125f);
  vector.values[0] = 0.5f;
  Output raw = vector;
  ASSERT_TRUE(cut_vector(vector, 32, true, "input").ok());
  EXPECT_EQ(vector.values.size(), 32u);
  EXPECT_TRUE(check_vector(vector, 32, "input").ok());
  EXPECT_NEAR(vector.values[0] / vector.values[1], 4.0f, 1e-6);
  ASSERT_TRUE(cut_vector(raw, 32, false, "input").ok());
  EXPECT_EQ(raw.values[0], 0.5f);
  Output zero{std::vector<float>(64, 0.0f)};
  EXPECT_FALSE(cut_vector(zero, 32, true, "input").ok());
}

TEST(Errors, EveryCodeHasItsStatusAndShape) {
  const std::pair<ErrorCode, int> cases[] = {{ErrorCode::kInvalidArgument, 400}, {ErrorCode::kUnauthenticated, 401},
                                             {ErrorCode::kNotFound, 404},        {ErrorCode::kMethodNotAllowed, 405},
                                             {ErrorCode::kPayloadTooLarge, 413}, {ErrorCode::kOverloaded, 429},
                                             {ErrorCode::kCancelled, 499},       {ErrorCode::kInternal, 500},
                                             {ErrorCode::kUnavailable, 503},     {ErrorCode::kDeadlineExceeded, 504}};
  simdjson::dom::parser parser;
  for (const auto& [code, status] : cases) {
    const HttpResponse response = error_response(Error{code, "what \"happened\"", "input[1]", 7});
    EXPECT_EQ(response.status, status);
    const auto error = parser.parse(response.body)["error"];
    EXPECT_EQ(std::string_view(error["message"]), "what \"happened\"");
    EXPECT_EQ(std::string_view(error["param"]), "input[1]");
    EXPECT_TRUE(error["type"].is_string() && error["code"].is_string());
    const bool retry = code == ErrorCode::kOverloaded || code == ErrorCode::kUnavailable;
    EXPECT_EQ(response.header_lines.find("Retry-After: 7\r\n") != std::string::npos, retry);
  }
}

TEST(Auth, KeysAndTenants) {
  const std::vector<ApiKey> keys = {{"key-one", "alice"}, {"key-two-longer", "bob"}};
  EXPECT_EQ(*authenticate("Bearer key-one", keys), "alice");
  EXPECT_EQ(*authenticate("bearer key-two-longer", keys), "bob");
  EXPECT_EQ(*authenticate("", {}), "");
  for (const char* wrong : {"", "Bearer ", "Bearer key-on", "Bearer key-onee", "Bearer key-onekey-one", "key-one",
                            "Basic key-one", "Bearer  key-one"}) {
    EXPECT_FALSE(authenticate(wrong, keys).ok()) << wrong;
  }
}

TEST(RequestId, TakenWhenSane) {
  const auto id_for = [](std::string_view given) {
    HttpRequest request;
    request.set_request_line("GET", "/");
    request.add_header("X-Request-Id", given);
    return request_id_of(request);
  };
  EXPECT_EQ(id_for("a-b_c.d:1"), "a-b_c.d:1");
  for (const std::string& bad :
       {std::string(), std::string("a b"), std::string("a\tb"), std::string(129, 'x'), std::string("\xc3\xa4")}) {
    EXPECT_EQ(id_for(bad).size(), 32u);
    EXPECT_NE(id_for(bad), id_for(bad));
  }
}

TEST(Openapi, IsValidJsonWithoutMarks) {
  ApiConfig config = small_config();
  for (int round = 0; round < 2; ++round) {
    const std::string text = openapi_document(config);
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    ASSERT_EQ(parser.parse(text).get(document), simdjson::SUCCESS) << text;
    EXPECT_EQ(text.find('@'), std::string::npos);
    EXPECT_EQ(int64_t(document["components"]["schemas"]["EmbedRequest"]["properties"]["dimensions"]["maximum"]), 64);
    config.api_keys = {{"k", "t"}};
  }
}

}  // namespace
}  // namespace quern
