// What requests and answers hold is leased before it is there, never beyond the budget, and all given back.
#include <gtest/gtest.h>

#include <mutex>
#include <random>

#include "base/test_heap.h"
#include "http/body_decoding.h"
#include "http/http_test_client.h"
#include "http/output_queue.h"
#include "http/request_parser.h"
#include "http/test_coding.h"
#include "http/write_deadline.h"

namespace quern {
namespace {

class HttpMemory : public testing::Test {
 protected:
  /// Answers with the body and a "!", the lease of the request in the answer.
  HttpHandler echo(int64_t body_bytes_max = 1 << 20) {
    return [body_bytes_max](HttpRequest request, Responder responder) {
      const auto decoded = decode_body(request, body_bytes_max, [] { return false; });
      HttpResponse response = text_response(decoded ? std::move(request.body) + "!" : decoded.error().message);
      if (!decoded) response.status = decoded.error().code == ErrorCode::kPayloadTooLarge ? 413 : 400;
      response.lease = std::move(request.lease);
      responder.send(std::move(response));
    };
  }
  std::string ask(HttpServer& server, const std::string& text) {
    Client client(server.port());
    client.try_send(text);
    return client.read_all();
  }
};

// A request or an answer that is replaced holds neither its bytes nor its share of the budget any more.
template <typename Message>
void expect_that_assigning_lets_go() {
  constexpr size_t kBytes = 1 << 20;
  MemoryBudget budget(2 * kBytes);
  Message message;
  message.body.assign(kBytes, 'x');
  message.lease = MemoryBudget::Lease(budget);
  ASSERT_TRUE(message.lease.grow(kBytes));
  message = Message();
  EXPECT_EQ(budget.used_bytes(), 0);
  EXPECT_LT(message.body.capacity(), 100u);
}

TEST_F(HttpMemory, AssigningLetsGo) {
  expect_that_assigning_lets_go<HttpRequest>();
  expect_that_assigning_lets_go<HttpResponse>();
}

// What the kernel has taken of a queue is memory no more, though the rest still waits.
TEST_F(HttpMemory, WrittenAnswersLetGo) {
  constexpr size_t kBytes = 8 << 20, kAnswers = 8, kUnread = 4;  // more than sockets hold
  boost::asio::io_context io;
  boost::asio::ip::tcp::acceptor acceptor(io, {boost::asio::ip::address_v4::loopback(), 0});
  boost::asio::ip::tcp::socket client(io), socket(io);
  client.connect(acceptor.local_endpoint());
  acceptor.accept(socket);
  socket.non_blocking(true);
  MemoryBudget budget(kAnswers * kBytes * 2);
  const size_t before = heap_bytes();
  OutputQueue queue;
  for (size_t i = 0; i < kAnswers; ++i) {
    HttpResponse response = text_response(std::string(kBytes, 'x'));
    response.lease = MemoryBudget::Lease(budget);
    ASSERT_TRUE(response.lease.resize(kBytes));
    queue.add(std::move(response), {});
  }
  std::string taken(1 << 16, ' ');
  for (size_t left = (kAnswers - kUnread) * kBytes; left > 0;) {
    boost::system::error_code ec;
    (void)queue.write_to(socket, ec);
    left -= std::min(left, client.read_some(boost::asio::buffer(taken)));
  }
  EXPECT_FALSE(queue.empty());
  EXPECT_LE(budget.used_bytes(), static_cast<int64_t>(kUnread * kBytes));
  EXPECT_LT(heap_bytes(), before + kUnread * kBytes + (1 << 20));
}

// As it was measured when the answer came: by what the body holds, in the queue too.
TEST_F(HttpMemory, UnpaidIsMeasuredOneWay) {
  HttpResponse response = text_response("short");
  response.body.reserve(4000);
  EXPECT_GE(response.unpaid_bytes(), 4000);
  const int64_t unpaid = response.unpaid_bytes();
  OutputQueue queue;
  queue.add(std::move(response), {});
  EXPECT_EQ(queue.unpaid_bytes(), unpaid);
}

TEST(WriteDeadline, MuchThatWasTakenIsNoRightToTakeLittle) {
  constexpr int64_t kSecond = 1'000'000;
  WriteDeadline deadline(30 * kSecond, 16 * 1024);
  deadline.start(0);
  deadline.took(int64_t{1} << 30, kSecond);  // 18 hours' worth
  EXPECT_FALSE(deadline.is_over(31 * kSecond));
  for (int64_t second = 2; second <= 60; ++second) deadline.took(1, second * kSecond);
  EXPECT_TRUE(deadline.is_over(60 * kSecond));
  deadline.start(0);
  for (int64_t second = 1; second <= 600; ++second) {
    EXPECT_FALSE(deadline.is_over(second * kSecond)) << "a reader at the least rate";
    deadline.took(16 * 1024, second * kSecond);
  }
  EXPECT_TRUE(deadline.is_over(631 * kSecond)) << "nothing at all for the timeout";
}

TEST_F(HttpMemory, ACodedBodyThatHoldsNothingIsGivenUp) {
  const auto body_of = [](size_t blocks) {
    HttpRequest request;
    request.coding = ContentCoding::kDeflate;
    for (size_t i = 0; i < blocks; ++i) request.body.append("\0\0\0\xff\xff", 5);  // an empty stored block
    return request;
  };
  int asked = 0;
  HttpRequest short_one = body_of(100'000);
  const auto left = decode_body(short_one, 1 << 20, [&] { return ++asked > 2; });
  EXPECT_EQ(left.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(asked, 3);
  HttpRequest long_one = body_of(1'000'000);
  asked = 0;
  const auto refused = decode_body(long_one, 1 << 20, [&] { return ++asked > 1'000; });
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_LE(asked, 20);
}

TEST_F(HttpMemory, ContentCodingsAreUndone) {
  MemoryBudget budget(64 << 20);
  HttpServer server({}, budget, echo());
  ASSERT_TRUE(server.start().ok());
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += std::to_string(i * 7919 % 1000) + " ";
  const auto coded = [&](const std::string& body, const std::string& coding) {
    return ask(server, post(body, "Connection: close\r\nContent-Encoding: " + coding + "\r\n"));
  };
  EXPECT_TRUE(coded(compress(text, kGzip), "gzip").ends_with("\r\n\r\n" + text + "!"));
  EXPECT_TRUE(coded(compress(text, kGzip), "X-GZIP, identity").ends_with("\r\n\r\n" + text + "!"));
  EXPECT_TRUE(coded(compress(text, kZlib), "deflate").ends_with("\r\n\r\n" + text + "!"));
  EXPECT_TRUE(coded(compress(text, kRaw), "deflate").ends_with("\r\n\r\n" + text + "!"));
  EXPECT_TRUE(coded(compress("a", kGzip) + compress("b", kGzip), "gzip").ends_with("\r\n\r\nab!"));
  EXPECT_TRUE(coded(text, "identity").ends_with("\r\n\r\n" + text + "!"));
  const std::string gzip = compress(text, kGzip);
  for (const std::string& damaged : {gzip.substr(0, gzip.size() - 1), gzip + "x", text, std::string("\x1f")}) {
    const std::string answer = coded(damaged, "gzip");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer.substr(0, 300);
    EXPECT_NE(answer.find("Content-Encoding"), std::string::npos);
  }
  for (const char* coding : {"br", "gzip, gzip", "zstd", "compress"}) {
    const std::string answer = coded(gzip, coding);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 415 ")) << answer.substr(0, 300);
    EXPECT_NE(answer.find("\r\nAccept-Encoding: gzip, deflate\r\n"), std::string::npos) << answer;
  }
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() == 0; }));
}

TEST_F(HttpMemory, BombIs413AndNeverHeldWhole) {
  MemoryBudget budget(64 << 20);
  HttpServer server({}, budget, echo());
  ASSERT_TRUE(server.start().ok());
  const std::string fits = compress(std::string(1 << 20, 'x'), kGzip);
  const std::string bomb = compress(std::string((1 << 20) + 1, 'x'), kGzip);
  ASSERT_LT(bomb.size(), 8000u);
  const std::string gzip = "Connection: close\r\nContent-Encoding: gzip\r\n";
  EXPECT_TRUE(ask(server, post(fits, gzip)).starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(ask(server, post(bomb, gzip)).starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() == 0; }));
}

// The least budget is enough, whatever the body's length is to the rooms that double; and it is no more than needed.
TEST_F(HttpMemory, TheLongestBodyFitsTheLeastBudget) {
  std::mt19937 random(7);
  for (const int64_t body_bytes_max : {3'000, 16'500, 300'000, 528'900, 1 << 20}) {
    HttpServerConfig config;
    config.body_bytes_max = body_bytes_max;
    MemoryBudget budget(least_budget_bytes(body_bytes_max, config.header_bytes_max));
    HttpServer server(config, budget, echo(body_bytes_max));
    ASSERT_TRUE(server.start().ok());
    std::string text(static_cast<size_t>(body_bytes_max), ' ');
    for (char& c : text) c = static_cast<char>(random());  // which no coding makes shorter
    while (static_cast<int64_t>(compress(text, kGzip).size()) > body_bytes_max) text.resize(text.size() - 16);
    std::string fields = "Connection: close\r\nContent-Encoding: gzip\r\n";
    while (fields.size() + 200 < static_cast<size_t>(config.header_bytes_max)) fields += "a:\r\n";
    const std::string answer = ask(server, post(compress(text, kGzip), fields));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << body_bytes_max << ": " << answer.substr(0, 400);
    EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() == 0; }));
  }
  EXPECT_LT(least_budget_bytes(64 << 20, 16 << 10), int64_t{64 << 20} * 13 / 4);
}

// Bodies of 40,000 bytes against a share of 120,000: two may be held, the third is told to come back; a request
// without a body is answered all the time.
TEST_F(HttpMemory, BoundedOverAllConnections) {
  MemoryBudget budget(128'000);
  std::mutex mutex;
  std::vector<std::pair<HttpRequest, Responder>> waiting;
  HttpServer server({}, budget, [&](HttpRequest request, Responder responder) {
    if (request.method() == "GET") return responder.send(text_response("alive"));
    std::lock_guard lock(mutex);
    waiting.emplace_back(std::move(request), std::move(responder));
  });
  ASSERT_TRUE(server.start().ok());
  const std::string body = post(std::string(40'000, 'x'));
  Client first(server.port());
  Client second(server.port());
  for (Client* client : {&first, &second}) client->send(body);
  ASSERT_TRUE(becomes_true([&] {
    std::lock_guard lock(mutex);
    return waiting.size() == 2;
  }));
  EXPECT_GE(budget.used_bytes(), 80'000);
  const std::string refused = ask(server, body);
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 429 ")) << refused;
  EXPECT_NE(refused.find("\r\nRetry-After: "), std::string::npos) << refused;
  EXPECT_TRUE(ask(server, "GET / HTTP/1.0\r\n\r\n").ends_with("alive"));
  for (auto& [request, responder] : waiting) responder.send(text_response("done"));
  waiting.clear();
  EXPECT_TRUE(first.read_all().ends_with("done"));
  EXPECT_TRUE(second.read_all().ends_with("done"));
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() == 0; }));
}

TEST_F(HttpMemory, WhatCanNeverFitIs413) {
  MemoryBudget budget(100'000);
  HttpServer server({}, budget, echo());
  ASSERT_TRUE(server.start().ok());
  EXPECT_TRUE(ask(server, post(std::string(94'000, 'x'))).starts_with("HTTP/1.1 413 "));
  std::string chunks = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 12; ++i) chunks += "2710\r\n" + std::string(10'000, 'x') + "\r\n";
  EXPECT_TRUE(ask(server, chunks + "0\r\n\r\n").starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() == 0; }));
}

// A declared length holds nothing, only bytes that have come do; and never much more than those.
TEST_F(HttpMemory, OnlyBytesThatCameAreHeld) {
  MemoryBudget budget(64 << 20);
  HttpServer server({}, budget, echo());
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 30000000\r\n\r\nx");
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() > 0; }));
  EXPECT_LE(budget.used_bytes(), 40'000);
  client.send(std::string(3'000'000, 'x'));
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() >= 3'000'000; }));
  EXPECT_LE(budget.used_bytes(), 9'100'000);
  client.close();
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() == 0; }));
}

TEST_F(HttpMemory, AnswersAreCountedUntilTheyAreWritten) {
  MemoryBudget budget(40 << 20);
  HttpServerConfig config;
  config.write_timeout_ms = 60'000;
  HttpServer server(config, budget, [](HttpRequest, Responder responder) {
    responder.send(text_response(std::string(32 << 20, 'x')));
  });
  ASSERT_TRUE(server.start().ok());
  Client slow(server.port());
  slow.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() >= 32 << 20; }));
  EXPECT_TRUE(ask(server, "GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 429 "));  // no room for a second one
  EXPECT_GT(slow.read_all().size(), size_t{32} << 20);
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() == 0; }));
  EXPECT_TRUE(ask(server, "GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

// Answers too small to be written by themselves wait behind one that is not there yet, on one connection after another.
TEST_F(HttpMemory, ManySmallAnswersThatWaitAreBounded) {
  constexpr size_t kAnswerBytes = 12'000, kBehind = 10, kBudget = 400'000;
  MemoryBudget budget(kBudget);
  std::mutex mutex;
  std::vector<Responder> held;
  std::atomic<size_t> answered{0};
  HttpServer server({}, budget, [&](HttpRequest request, Responder responder) {
    if (request.path() == "/hold") {
      std::lock_guard lock(mutex);
      return held.push_back(std::move(responder));
    }
    responder.send(text_response(request.path() == "/tiny" ? "alive" : std::string(kAnswerBytes, 'x')));
    ++answered;
  });
  ASSERT_TRUE(server.start().ok());
  std::string pipeline = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";
  for (size_t i = 0; i < kBehind; ++i) pipeline += kGet;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    clients.back()->send(pipeline);
  }
  ASSERT_TRUE(becomes_true([&] { return answered == 8 * kBehind; }));
  EXPECT_GT(budget.used_bytes(), static_cast<int64_t>(kBudget - 2 * kAnswerBytes));
  EXPECT_LE(budget.used_bytes(), static_cast<int64_t>(kBudget));
  EXPECT_TRUE(ask(server, "GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 429 "));
  EXPECT_TRUE(ask(server, "GET /tiny HTTP/1.0\r\n\r\n").ends_with("alive"));
  held.clear();
  size_t whole = 0, refused = 0;
  for (auto& client : clients) {
    client->half_close();
    const std::string answers = client->read_all();
    whole += count(answers, "HTTP/1.1 200 ");
    refused += count(answers, "HTTP/1.1 429 ");
  }
  EXPECT_EQ(whole + refused, 8 * kBehind);
  EXPECT_LE(whole * kAnswerBytes, kBudget);
  EXPECT_TRUE(becomes_true([&] { return budget.used_bytes() == 0; }));
}

}  // namespace
}  // namespace quern
