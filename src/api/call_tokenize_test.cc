// What a call asks before it tokenizes, where it does, when it stops, and what it holds meanwhile.
#include <gtest/gtest.h>

#include "api/test_call_server.h"

namespace quern {
namespace {

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

}  // namespace
}  // namespace quern
