// What a request costs before it may cost anything, and what is answered when there is no memory left for requests.
#include <gtest/gtest.h>

#include "api/test_call_server.h"
#include "http/test_coding.h"
#include "observe/log.h"

namespace quern {
namespace {

constexpr const char* kCoded = "Content-Encoding: gzip\r\n";

TEST_F(CallTest, ACodedBodyIsDecodedForWhoMaySendItAndNotOnAnIoThread) {
  std::atomic<std::thread::id> encoded_on{};
  on_encode_ = [&] { encoded_on = std::this_thread::get_id(); };
  ApiConfig config = small_config();
  config.api_keys = {{"key-one", "alice", 0}};
  config.body_bytes_max = 1000;
  start(config);
  const std::string key = std::string(kCoded) + "Authorization: Bearer key-one\r\n";
  const std::string bomb = compress(std::string(1001, ' '), kGzip);
  EXPECT_EQ(status(ask("POST", kCoded, bomb)), "401");
  EXPECT_EQ(status(ask("POST", kCoded, "no gzip")), "401");
  EXPECT_EQ(status(ask("PUT", key, bomb)), "405");
  EXPECT_EQ(status(ask("POST", key, bomb)), "413");
  const std::string malformed = ask("POST", key, "no gzip");
  EXPECT_EQ(status(malformed), "400");
  EXPECT_NE(malformed.find("Content-Encoding"), std::string::npos) << malformed;
  EXPECT_EQ(status(ask("POST", key, compress(R"({"input":"x"})", kGzip))), "200");
  EXPECT_NE(encoded_on.load(), std::thread::id());
  EXPECT_NE(encoded_on.load(), io_thread_.load());
  std::string chunked =
      "POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" + key;
  chunked += "\r\n";
  for (const char byte : compress(R"({"input":"x"})", kGzip)) chunked += std::string("1\r\n") + byte + "\r\n";
  Client client(server_->port());
  client.send(chunked + "0\r\n\r\n");
  EXPECT_EQ(status(client.read_all()), "200");
  EXPECT_TRUE(becomes_true([&] { return budget_->used_bytes() == 0; }));
}

TEST_F(CallTest, WhoRunsTheServerIsAnsweredWhenRequestsHaveTakenAllMemory) {
  start(small_config(), 1 << 20);
  const auto get = [this](const std::string& path) {
    Client client(server_->port());
    client.send("GET " + path + " HTTP/1.0\r\n\r\n");
    return client.read_all();
  };
  MemoryBudget::Lease all(*budget_);
  ASSERT_TRUE(all.resize(1 << 20));
  const std::string large = get("/openapi.json");
  EXPECT_EQ(status(large), "200");
  EXPECT_GT(large.size(), 8u * 1024) << "more than a connection has without asking";
  EXPECT_EQ(status(get("/metrics")), "200");
  // In the words of out_of_budget(), as a call does.
  const std::string by_transport = embed(R"({"input":"x"})");
  EXPECT_EQ(status(by_transport), "429");
  EXPECT_NE(by_transport.find("\r\nRetry-After: 1\r\n"), std::string::npos) << by_transport;
  const std::string wording =
      "Requests in memory have reached the server's limit of 1048576 bytes (--max-buffered-bytes)";
  EXPECT_NE(by_transport.find(wording), std::string::npos) << by_transport;
}

TEST_F(CallTest, WhatTheTransportRefusesIsLoggedWithItsClient) {
  start(small_config());
  testing::internal::CaptureStderr();
  log_start({});
  Client client(server_->port());
  client.send("GET / HTTP/1.1\r\n\r\n");  // without a Host
  EXPECT_EQ(status(client.read_all()), "400");
  log_stop();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("\"client.address\":\"127.0.0.1:"), std::string::npos) << log;
}

}  // namespace
}  // namespace quern
