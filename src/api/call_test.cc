// A request's way through the real HttpServer and ApiServer: what is asked before what, and what its Jobs carry.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <limits>
#include <map>

#include "api/cors.h"
#include "api/test_call_server.h"
#include "base/clock.h"
#include "observe/log.h"

namespace quern {
namespace {

TEST_F(CallTest, AKeysPriorityIsItsCapAndItsRowTheTenant) {
  ApiConfig config = small_config();
  config.api_keys = {{"key-plain", "plain", 0}, {"key-fast", "fast", 7}, {"key-behind", "behind", -5}};
  start(config);
  const std::map<std::string, std::vector<int32_t>> expected = {
      {"key-plain", {0, 0, -9}}, {"key-fast", {7, 5, -9}}, {"key-behind", {-5, -5, -9}}};
  for (size_t row = 0; row < config.api_keys.size(); ++row) {
    const std::string& key = config.api_keys[row].key;
    const int32_t wanted[] = {100, 5, -9};
    for (size_t i = 0; i < 3; ++i) {
      const std::string body = R"({"input":"a","priority":)" + std::to_string(wanted[i]) + "}";
      EXPECT_EQ(status(embed(body, "Authorization: Bearer " + key + "\r\n")), "200");
      const auto jobs = embedder_.take_jobs();
      ASSERT_EQ(jobs.size(), 1u);
      EXPECT_EQ(jobs[0].priority, expected.at(key)[i]) << key << " " << wanted[i];
      EXPECT_EQ(jobs[0].tenant, static_cast<int32_t>(row));
    }
  }
  EXPECT_EQ(status(embed(R"({"input":"a"})")), "401");
}

TEST_F(CallTest, WithoutKeysThePriorityOfTheConfigurationHolds) {
  start(small_config());
  EXPECT_EQ(status(embed(R"({"input":"a","priority":100})")), "200");
  EXPECT_EQ(embedder_.take_jobs().at(0).priority, 100);
  EXPECT_EQ(status(embed(R"({"input":"a","priority":101})")), "400");
}

TEST_F(CallTest, TokenIdsAreWarnedOfOncePerKey) {
  ApiConfig config = small_config();
  config.api_keys = {{"key-one", "alice", 0}, {"key-two", "bob", 0}};
  start(config);
  testing::internal::CaptureStderr();
  log_start({});
  for (int i = 0; i < 3; ++i) {
    for (const char* key : {"key-one", "key-two"}) {
      const std::string header = std::string("api-key: ") + key + "\r\n";
      EXPECT_EQ(status(embed(R"({"input":"a text"})", header)), "200");
      EXPECT_EQ(status(embed(R"({"input":[1,2]})", header)), "200");
    }
  }
  log_stop();
  const std::string log = testing::internal::GetCapturedStderr();
  const std::string warning = "\"message\":\"token ids instead of text";
  EXPECT_EQ(count(log, warning), 2u) << log;
  for (const char* name : {"alice", "bob"}) {
    size_t lines = 0;
    for (size_t at = log.find(warning); at != std::string::npos; at = log.find(warning, at + 1)) {
      const std::string line = log.substr(at, log.find('\n', at) - at);
      lines += count(line, std::string("\"user.name\":\"") + name + "\"");
    }
    EXPECT_EQ(lines, 1u) << name;
  }
}

TEST_F(CallTest, WhileItDrainsWhatIsReceivedIsAnswered) {
  start(small_config());
  ready_ = false;  // what /ready says
  EXPECT_EQ(status(embed(R"({"input":"a"})")), "200");
}

TEST_F(CallTest, TheHeadersTimeoutStandsInForTheDefaultAsTheBodysDoes) {
  ApiConfig config = small_config();
  config.timeout_ms_default = 20'000;
  start(config);
  const auto timeout_ms = [this](const std::string& fields, const std::string& header) {
    const int64_t before_us = now_us();
    EXPECT_EQ(status(embed(R"({"input":"a")" + fields + "}", header)), "200");
    const int64_t deadline_us = embedder_.take_jobs().at(0).deadline_us;
    const int64_t least = (deadline_us - now_us()) / 1000;
    const int64_t most = (deadline_us - before_us) / 1000;
    for (const int64_t exact : {10'000, 20'000, 5'000'000, 7'000'000}) {
      if (least <= exact && exact <= most) return exact;
    }
    return int64_t{-1};
  };
  EXPECT_EQ(timeout_ms("", ""), 20'000);
  EXPECT_EQ(timeout_ms("", "x-timeout-ms: 10000\r\n"), 10'000);
  EXPECT_EQ(timeout_ms("", "x-timeout-ms: 5000000\r\n"), 5'000'000);
  EXPECT_EQ(timeout_ms(R"(,"timeout_ms":7000000)", ""), 7'000'000);
  EXPECT_EQ(timeout_ms(R"(,"timeout_ms":7000000)", "x-timeout-ms: 5000000\r\n"), 5'000'000);
}

TEST_F(CallTest, WhatCanNeverFitIs413AndWhatDoesNotFitNowIs429) {
  ApiConfig config = small_config();
  config.inputs_max = 30;
  start(config, 100'000);
  std::string body = R"({"input":["a")";
  for (int i = 1; i < 30; ++i) body += R"(,"a")";
  body += "]}";  // 30 vectors of 64 floats and their text: over 30,000 bytes
  EXPECT_EQ(status(embed(body)), "200");
  EXPECT_TRUE(becomes_true([this] { return budget_->used_bytes() == 0; }));
  MemoryBudget::Lease others(*budget_);
  ASSERT_TRUE(others.grow(80'000));
  EXPECT_EQ(status(embed(body)), "429");
  others.resize(0);
  EXPECT_EQ(status(embed(body)), "200");
  EXPECT_EQ(encodes_, 60);
  server_.reset();
  api_.reset();
  start(config, 30'000);
  const std::string answer = embed(body);
  EXPECT_EQ(status(answer), "413");
  EXPECT_NE(answer.find("--max-buffered-bytes"), std::string::npos) << answer;
  EXPECT_EQ(encodes_, 60);  // nothing was tokenised for it
  EXPECT_TRUE(becomes_true([this] { return budget_->used_bytes() == 0; }));
}

TEST_F(CallTest, WhatTheTransportRefusesHasCodesOfItsOwn) {
  start(small_config());
  const auto code = [](const std::string& answer) {
    simdjson::dom::parser parser;
    std::string_view text;
    const size_t body = answer.find("\r\n\r\n");
    if (body == std::string::npos) return answer;
    const auto error = parser.parse(answer.substr(body + 4))["error"];
    EXPECT_EQ(std::string_view(error["type"]), "invalid_request_error") << answer;
    EXPECT_EQ(error["code"].get(text), simdjson::SUCCESS) << answer;
    return status(answer) + " " + std::string(text);
  };
  EXPECT_EQ(code(embed("{}", "Content-Encoding: br\r\n")), "415 unsupported_media_type");
  EXPECT_EQ(code(embed("{}", "Expect: the-best\r\n")), "417 expectation_failed");
  EXPECT_EQ(code(embed("{}", "X-Long: " + std::string(100'000, 'x') + "\r\n")), "431 header_too_large");
  EXPECT_EQ(code(embed("{}", "Transfer-Encoding: gzip, chunked\r\n")), "501 not_implemented");
  Client client(server_->port());
  client.try_send("GET / HTTP/2.0\r\n\r\n");
  EXPECT_EQ(code(client.read_all()), "505 version_not_supported");
  const std::string metrics = metrics_.text();
  for (const char* status : {"415", "417", "431", "501", "505"}) {
    const std::string line = std::string("quern_requests_total{code=\"") + status + "\",route=\"transport\"} 1\n";
    EXPECT_NE(metrics.find(line), std::string::npos) << metrics;
  }
}

TEST_F(CallTest, CorsOverTheWire) {
  ApiConfig config = small_config();
  config.cors_origins = *parse_cors_origins({"https://a.example/", "http://localhost:3000"});
  start(config);
  for (const std::string& origin : config.cors_origins) {
    const std::string line = "Access-Control-Allow-Origin: " + origin + "\r\n";
    const std::string header = "Origin: " + origin + "\r\n";
    EXPECT_NE(embed(R"({"input":"a"})", header).find(line), std::string::npos);
    EXPECT_NE(embed("nonsense", header).find(line), std::string::npos);  // a page may read why
    const std::string plain = ask("OPTIONS", header + "Access-Control-Request-Method: POST\r\n", "");
    EXPECT_EQ(status(plain), "204");
    EXPECT_NE(plain.find(line), std::string::npos) << plain;
    EXPECT_NE(plain.find("Access-Control-Allow-Methods: POST, OPTIONS\r\n"), std::string::npos) << plain;
    EXPECT_EQ(plain.find("Private-Network"), std::string::npos) << plain;
    const std::string local = ask("OPTIONS", header + "Access-Control-Request-Private-Network: true\r\n", "");
    EXPECT_NE(local.find("Access-Control-Allow-Private-Network: true\r\n"), std::string::npos) << local;
  }
  for (const char* header : {"Origin: https://evil.example\r\n", ""}) {
    const std::string other =
        ask("OPTIONS", std::string(header) + "Access-Control-Request-Private-Network: true\r\n", "");
    EXPECT_EQ(status(other), "204");
    EXPECT_EQ(other.find("Access-Control-"), std::string::npos) << other;
    EXPECT_NE(other.find("Vary: Origin\r\n"), std::string::npos) << other;
  }
}

}  // namespace
}  // namespace quern
