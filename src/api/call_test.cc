// A request's way through the real HttpServer and ApiServer: what is asked before what, and what its Jobs carry.
#include <gtest/gtest.h>
#include <malloc.h>
#include <simdjson.h>

#include <limits>
#include <map>
#include <mutex>
#include <optional>

#include "api/api_server.h"
#include "api/cors.h"
#include "api/test_config.h"
#include "base/clock.h"
#include "http/http_test_client.h"
#include "observe/log.h"

namespace quern {
namespace {

/// What the heap has handed out; under a sanitizer, which has a heap of its own, always the same.
size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

/// Ends each Job at once and keeps what it carried.
class RecordingEmbedder : public Embedder {
 public:
  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs) override {
    heap_bytes_ = heap_bytes();
    std::vector<uint64_t> ids;
    for (Job& job : jobs) {
      ids.push_back(ids.size() + 1);
      const Completion completion = std::move(job.completion);
      {
        std::lock_guard lock(mutex_);
        jobs_.push_back(std::move(job));
      }
      completion(Output{std::vector<float>(64, 0.125f)}, {1, 1, 1});
    }
    return ids;
  }
  void cancel(std::span<const uint64_t>) override {}
  Result<void> room(int64_t jobs, int64_t tokens) const override {
    std::lock_guard lock(mutex_);
    if (loading_) return Error{ErrorCode::kUnavailable, "the model is loading", "", 3};
    if (jobs == 0) return {};  // only whether it is there
    asked_.emplace_back(jobs, tokens);
    if (full_) return Error{ErrorCode::kOverloaded, "the queue is full", "", 7};
    if (tokens > tokens_max_) return Error{ErrorCode::kPayloadTooLarge, "more than the queue can take", "", 0};
    return {};
  }
  void set_loading(bool loading) {
    std::lock_guard lock(mutex_);
    loading_ = loading;
  }
  void set_tokens_max(int64_t tokens_max) {
    std::lock_guard lock(mutex_);
    tokens_max_ = tokens_max;
  }
  void set_full(bool full) {
    std::lock_guard lock(mutex_);
    full_ = full;
  }
  size_t heap_bytes_at_submit() const { return heap_bytes_; }
  std::vector<Job> take_jobs() {
    std::lock_guard lock(mutex_);
    return std::exchange(jobs_, {});
  }
  std::vector<std::pair<int64_t, int64_t>> take_asked() {
    std::lock_guard lock(mutex_);
    return std::exchange(asked_, {});
  }

 private:
  mutable std::mutex mutex_;
  mutable std::vector<std::pair<int64_t, int64_t>> asked_;
  std::vector<Job> jobs_;
  std::atomic<size_t> heap_bytes_{0};
  int64_t tokens_max_ = std::numeric_limits<int64_t>::max();
  bool full_ = false;
  bool loading_ = false;
};

class CallTest : public testing::Test {
 protected:
  void start(const ApiConfig& config, int64_t budget_bytes = int64_t{1} << 30) {
    ServedModel model = small_model();
    model.embedder = &embedder_;
    model.encode = [this](std::string_view prompt, std::string_view text, int32_t tokens_max, Truncation side) {
      ++encodes_;
      if (on_encode_) on_encode_();
      std::vector<int32_t> ids;  // one for each byte
      for (const char c : std::string(prompt) + std::string(text)) ids.push_back(static_cast<unsigned char>(c));
      const auto own_max = static_cast<size_t>(tokens_max - 1);
      if (ids.size() > own_max && side == Truncation::kNone)
        return Result<std::vector<int32_t>>(invalid_argument("too many tokens"));
      if (ids.size() > own_max && side == Truncation::kLeft)
        ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(own_max));
      ids.resize(std::min(ids.size(), own_max));
      ids.push_back(999);
      return Result<std::vector<int32_t>>(ids);
    };
    budget_.emplace(budget_bytes);
    api_.emplace(
        config, std::vector<ServedModel>{model},
        [this]() -> Result<void> {
          if (ready_) return {};
          return Error{ErrorCode::kUnavailable, "the model is loading", "", 3};
        },
        *budget_, metrics_);
    HttpServerConfig http;
    http.error_response = [this](int status, std::string_view text) { return api_->transport_error(status, text); };
    server_.emplace(http, *budget_, [this](HttpRequest request, Responder responder) {
      io_thread_ = std::this_thread::get_id();
      api_->handle(std::move(request), std::move(responder));
    });
    ASSERT_TRUE(server_->start().ok());
  }
  std::string ask(const std::string& method, const std::string& headers, const std::string& body) {
    Client client(server_->port());
    client.try_send(method + " /v1/embeddings HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + headers +
                    "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return client.read_all();
  }
  std::string embed(const std::string& body, const std::string& headers = "") { return ask("POST", headers, body); }
  static std::string status(const std::string& answer) { return answer.substr(9, 3); }
  std::vector<int32_t> ids_of(const std::string& body) {
    EXPECT_EQ(status(embed(body)), "200") << body;
    const auto jobs = embedder_.take_jobs();
    EXPECT_EQ(jobs.size(), 1u) << body;
    return jobs.empty() ? std::vector<int32_t>() : jobs[0].token_ids;
  }

  Metrics metrics_;
  std::optional<MemoryBudget> budget_;
  RecordingEmbedder embedder_;
  std::atomic<bool> ready_{true};
  std::atomic<int> encodes_{0};
  std::function<void()> on_encode_;           // set before start()
  std::atomic<std::thread::id> io_thread_{};  // that had the last request
  std::optional<ApiServer> api_;
  std::optional<HttpServer> server_;
};

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

TEST_F(CallTest, AServerThatIsNotReadyDoesNotTokenize) {
  for (const int64_t inline_bytes : {int64_t{0}, int64_t{16 * 1024}}) {  // on the pool, on the io thread
    server_.reset();
    api_.reset();
    ApiConfig config = small_config();
    config.inline_body_bytes_max = inline_bytes;
    start(config);
    embedder_.set_loading(true);
    const std::string answer = embed(R"({"input":["a","b"]})");
    EXPECT_EQ(status(answer), "503");
    EXPECT_NE(answer.find("Retry-After: 3\r\n"), std::string::npos) << answer;
    EXPECT_EQ(encodes_, 0);
    EXPECT_TRUE(embedder_.take_asked().empty());
    embedder_.set_loading(false);
  }
}

TEST_F(CallTest, WhileItDrainsWhatIsReceivedIsAnswered) {
  start(small_config());
  ready_ = false;  // what /ready says
  EXPECT_EQ(status(embed(R"({"input":"a"})")), "200");
}

TEST_F(CallTest, AFullServerDoesNotTokenize) {
  start(small_config());
  embedder_.set_full(true);
  const std::string answer = embed(R"({"input":["one text","two","three"]})");
  EXPECT_EQ(status(answer), "429");
  EXPECT_NE(answer.find("Retry-After: 7\r\n"), std::string::npos) << answer;
  EXPECT_EQ(encodes_, 0);
  // With the least that the request can have: a token for each text, the ids that were given.
  EXPECT_EQ(embedder_.take_asked(), (std::vector<std::pair<int64_t, int64_t>>{{3, 3}}));
  EXPECT_EQ(status(embed(R"({"input":[[1,2,3],[4]]})")), "429");
  EXPECT_EQ(embedder_.take_asked(), (std::vector<std::pair<int64_t, int64_t>>{{2, 6}}));  // with their EOS
  embedder_.set_full(false);
  EXPECT_EQ(status(embed(R"({"input":["one text","two","three"]})")), "200");
  EXPECT_EQ(encodes_, 3);
}

TEST_F(CallTest, WhatCanNeverBeTakenIsNotTokenizedToItsEnd) {
  start(small_config());
  embedder_.set_tokens_max(12);
  // With EOS 6 tokens, then 12; with one more for the third that is one too many.
  EXPECT_EQ(status(embed(R"({"input":["first","other","never"],"prompt_name":"document"})")), "413");
  EXPECT_EQ(encodes_, 2);
  EXPECT_EQ(embedder_.take_asked(), (std::vector<std::pair<int64_t, int64_t>>{{3, 3}, {3, 8}, {3, 13}}));
  EXPECT_EQ(status(embed(R"({"input":["first","other"],"prompt_name":"document"})")), "200");
}

TEST_F(CallTest, ForAClientThatLeftNothingMoreIsTokenized) {
  ApiConfig config = small_config();
  config.inline_body_bytes_max = 0;
  on_encode_ = [this] { EXPECT_TRUE(becomes_true([this] { return server_->counters().disconnects == 1; })); };
  start(config);
  const std::string body = R"({"input":["one","two","three"]})";
  Client client(server_->port());
  client.send("POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
              body);
  ASSERT_TRUE(becomes_true([this] { return encodes_ == 1; }));
  client.reset();
  EXPECT_TRUE(becomes_true([this] { return api_->calls_live() == 0; }));
  EXPECT_EQ(encodes_, 1);
  EXPECT_TRUE(embedder_.take_jobs().empty());
  EXPECT_NE(metrics_.text().find("quern_requests_total{code=\"499\",route=\"embeddings\"} 1\n"), std::string::npos);
}

// The prompt goes before each input: what one io thread may do is measured by the bytes to tokenize.
TEST_F(CallTest, ASmallBodyThatIsMuchWorkIsTokenizedByThePool) {
  ApiConfig config = small_config();
  config.inline_body_bytes_max = 3000;
  std::atomic<std::thread::id> encoder{};
  on_encode_ = [&encoder] { encoder = std::this_thread::get_id(); };
  start(config);
  const auto with = [](const std::string& input) {
    return R"({"truncate":true,"input":)" + input + R"(,"instruction":")" + std::string(1000, 'i') + "\"}";
  };
  EXPECT_EQ(status(embed(with(R"(["a"])"))), "200");
  EXPECT_EQ(encoder.load(), io_thread_.load());
  EXPECT_EQ(status(embed(with(R"(["a","b","c"])"))), "200");
  EXPECT_NE(encoder.load(), io_thread_.load());
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

// Its share of the budget goes back by then; its bytes must too.
TEST_F(CallTest, TheBodyIsFreeWhileItsJobsWait) {
  start(small_config());
  const std::string body = R"({"truncate":true,"input":")" + std::string(16 << 20, 'x') + "\"}";
  Client client(server_->port());
  client.send("POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n");
  const size_t before = heap_bytes();
  client.send(body);
  EXPECT_EQ(status(client.read_all()), "200");
  EXPECT_LT(embedder_.heap_bytes_at_submit(), before + body.size() / 2);
}

TEST_F(CallTest, TruncationOnTheSideThatTheRequestNames) {
  start(small_config());
  const std::string text = std::string(99, 'm') + "z";  // with EOS one token over the context of 100
  const std::string input = R"({"input":")" + ("a" + text) + "\"";
  EXPECT_EQ(status(embed(input + "}")), "400");
  const std::string prompt_less = R"(,"prompt_name":"document")";
  const auto right = ids_of(input + prompt_less + R"(,"truncate":"right"})");
  ASSERT_EQ(right.size(), 100u);
  EXPECT_EQ(right.front(), 'a');
  EXPECT_EQ(right[98], 'm');
  EXPECT_EQ(right.back(), 999);
  EXPECT_EQ(ids_of(input + prompt_less + R"(,"truncate":true})"), right);
  EXPECT_EQ(ids_of(input + prompt_less + R"(,"truncate":"END"})"), right);
  const auto left = ids_of(input + prompt_less + R"(,"truncate":"left"})");
  ASSERT_EQ(left.size(), 100u);
  EXPECT_EQ(left.front(), 'm');
  EXPECT_EQ(left[98], 'z');
  EXPECT_EQ(left.back(), 999);
  EXPECT_EQ(ids_of(input + prompt_less + R"(,"truncate":"START"})"), left);
  EXPECT_EQ(ids_of(R"({"input":[1,2,3,4,5],"truncate":"left","truncate_prompt_tokens":3})"),
            (std::vector<int32_t>{4, 5, 999}));
  EXPECT_EQ(ids_of(R"({"input":[1,2,3,4,5],"truncate":"right","truncate_prompt_tokens":3})"),
            (std::vector<int32_t>{1, 2, 999}));
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
