#include <gtest/gtest.h>
#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "api/api_metrics.h"
#include "api/auth.h"
#include "api/base64.h"
#include "api/errors.h"
#include "api/json_writer.h"
#include "api/openapi.h"
#include "api/output_check.h"
#include "api/request_record.h"
#include "api/routes/routes.h"
#include "api/test_config.h"
#include "observe/log.h"

namespace quern {
namespace {

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
  std::vector<size_t> sizes = {1023, 1024, 4096};
  for (size_t size = 0; size < 70; ++size) sizes.push_back(size);  // each length of what blocks leave over
  for (size_t size : sizes) {
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

TEST(OutputCheck, StopsWhatIsNotAUnitVector) {
  Output good;
  good.values.assign(64, 0.125f);
  EXPECT_TRUE(check_output(good, 64, "input").ok());
  EXPECT_FALSE(check_output(good, 65, "input").ok());
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity(), 1.0f}) {
    for (size_t at : {size_t{0}, size_t{31}, size_t{63}}) {
      Output vector = good;
      vector.values[at] = bad;
      EXPECT_FALSE(check_output(vector, 64, "input").ok()) << bad << " at " << at;
    }
  }
  EXPECT_FALSE(check_output(Output{std::vector<float>(64, 0.0f)}, 64, "input").ok());
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

TEST(Auth, KeysInEitherHeader) {
  const std::vector<ApiKey> keys = {{"key-one", "alice", 0}, {"key-two-longer", "bob", 7}};
  const auto shown = [&](std::string_view name, std::string_view value) {
    HttpRequest request;
    request.set_request_line("POST", "/");
    request.add_header(name, value);
    return authenticate(request, keys);
  };
  EXPECT_EQ((*shown("Authorization", "Bearer key-one"))->name, "alice");
  EXPECT_EQ((*shown("authorization", "bearer key-two-longer"))->priority_max, 7);
  EXPECT_EQ((*shown("API-Key", "key-one"))->name, "alice");
  EXPECT_EQ(*authenticate(HttpRequest(), {}), nullptr);
  for (const char* wrong : {"", "Bearer ", "Bearer key-on", "Bearer key-onee", "Bearer key-onekey-one", "key-one",
                            "Basic key-one", "Bearer  key-one"}) {
    EXPECT_FALSE(shown("authorization", wrong).ok()) << wrong;
  }
  for (const char* wrong : {"", "key-on", "Bearer key-one"}) EXPECT_FALSE(shown("api-key", wrong).ok()) << wrong;
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

TEST(Openapi, IsValidJsonWithoutMarksAndHasEveryRow) {
  ApiConfig config = small_config();
  for (int round = 0; round < 2; ++round) {
    const std::string text = openapi_document(config, Models({small_model()}));
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    ASSERT_EQ(parser.parse(text).get(document), simdjson::SUCCESS) << text;
    EXPECT_EQ(text.find('@'), std::string::npos);
    EXPECT_EQ(int64_t(document["components"]["schemas"]["EmbedRequest"]["properties"]["dimensions"]["maximum"]), 64);
    for (const Route& route : all_routes()) {
      if (route.path.empty()) continue;
      const auto operation = document["paths"][route.path][route.method == "GET" ? "get" : "post"];
      EXPECT_EQ(operation.error(), simdjson::SUCCESS) << route.path;
      const bool guarded = route.access == Access::kKey && !config.api_keys.empty();
      EXPECT_EQ(operation["responses"]["401"].error() == simdjson::SUCCESS, guarded) << route.path;
      EXPECT_EQ(operation["security"].error() == simdjson::SUCCESS, guarded) << route.path;
    }
    config.api_keys = {{"k", "t", 0}};
  }
}

TEST(Routes, EachRowAnswersOneWay) {
  for (const Route& route : all_routes()) {
    EXPECT_FALSE(route.name.empty());
    if (route.path.empty()) continue;
    EXPECT_NE(route.codec != nullptr, route.answer != nullptr) << route.path;
    EXPECT_NE(route.operation, nullptr) << route.path;
  }
  EXPECT_EQ(other_route().name, "other");
  EXPECT_EQ(transport_route().name, "transport");
}

TEST(Routes, PathsWithAVariable) {
  const Route route{.method = "POST", .path = "/a/{name}/b", .name = "x"};
  EXPECT_EQ(match_path(route, "/a/org/model/b"), "org/model");
  for (const char* other : {"/a//b", "/a/b", "/a/x/c", "/a/x", "", "/"})
    EXPECT_FALSE(match_path(route, other)) << other;
  EXPECT_FALSE(match_path(other_route(), ""));
  EXPECT_EQ(percent_decode("org%2Fmodel%2"), "org/model%2");
}

TEST(Models, AnyName) {
  ServedModel model = small_model();
  EXPECT_EQ(Models({model}).find("third"), nullptr);
  model.names.push_back("*");
  const Models models({model});
  EXPECT_NE(models.find("third"), nullptr);
  EXPECT_EQ(models.names().size(), 2u);
  EXPECT_TRUE(models.takes_any_name());
}

TEST(Metrics, ErrorsAreLookedUpOnce) {
  Metrics metrics;
  MemoryBudget budget(1000);
  ApiMetrics counted(metrics, "1", "c", budget);
  HttpCounters transport;
  counted.watch(transport);
  transport.requests = 5;
  MemoryBudget::Lease lease(budget);
  ASSERT_TRUE(lease.grow(600));
  RequestRecord record;
  record.error = ErrorCode::kOverloaded;
  for (const Route& row : all_routes()) {
    if (row.path == openai_routes()[0].path) record.route = &row;
  }
  counted.count(record, 429, 5);
  counted.count(record, 429, 5);
  record.route = &transport_route();
  counted.count(record, 400, 5);
  const std::string text = metrics.text();
  for (const char* line :
       {"quern_requests_total{code=\"429\",route=\"embeddings\"} 2\n", "quern_errors_total{kind=\"overloaded\"} 2\n",
        "quern_errors_total{kind=\"transport\"} 1\n", "quern_buffered_bytes 600\n",
        "quern_limit{field=\"buffered_bytes_max\"} 1000\n", "quern_calls_live 0\n", "quern_http_requests_total 5\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

}  // namespace
}  // namespace quern
