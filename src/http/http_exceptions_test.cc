// Fails the N-th allocation, for every N in turn, on an io thread or in a thread that answers: that costs one request
// or one connection, and the next request is answered.
#include <gtest/gtest.h>

#include <mutex>

#include "base/test_failing_new.h"
#include "http/http_test_client.h"

namespace quern {
namespace {

using failing_new::all_fail_here;
using failing_new::allocations_left;
using failing_new::exempt;

class HttpExceptions : public testing::Test {
 protected:
  HttpExceptions() { exempt = true; }
  ~HttpExceptions() override {
    allocations_left = -1;
    exempt = false;
  }

  /// Runs `exchange` with the N-th allocation failing, for N = 0, 1, ... until none is left to fail.
  void fail_each(HttpServer& server, const std::string& request) {
    int failures = 0;
    for (int n = 0; n < 2000; ++n) {
      allocations_left = n;
      std::string answer;
      {
        Client client(server.port());
        client.try_send(request);
        answer = client.read_all();
      }
      const bool failed = allocations_left.exchange(-1) < 0;
      failures += failed;
      EXPECT_TRUE(answer.empty() || answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 500 ") ||
                  answer.starts_with("HTTP/1.1 503 ") || answer.starts_with("HTTP/1.1 408 "))
          << n << ": " << answer;
      Client next(server.port());
      next.send(request);
      const std::string after = next.read_all();
      ASSERT_TRUE(after.starts_with("HTTP/1.1 200 ")) << n << ": " << after;
      if (!failed) {
        EXPECT_GT(failures, 5);
        EXPECT_TRUE(becomes_true([&] { return server.counters().connections_open == 0; }));
        EXPECT_EQ(server.counters().requests_in_flight, 0);
        return;
      }
    }
    FAIL() << "there is always one more allocation";
  }
};

const std::string kLong = post(std::string(200'000, 'x'));

TEST_F(HttpExceptions, OnTheIoThread) {
  MemoryBudget budget(1 << 30);
  {
    HttpServerConfig config;
    config.http_threads = 1;
    config.write_timeout_ms = config.idle_timeout_ms = config.body_timeout_ms = 500;
    HttpServer server(config, budget, [](HttpRequest request, Responder responder) {
      responder.send_made([body = std::string(request.body)] { return text_response(body + "!"); });
    });
    ASSERT_TRUE(server.start().ok());
    fail_each(server, kLong);
    EXPECT_GT(server.counters().exceptions, 0u);
  }
  EXPECT_EQ(budget.used_bytes(), 0);
}

// The message to the io thread cannot be sent: its tick finds the answer.
TEST_F(HttpExceptions, InAThreadThatAnswers) {
  std::mutex mutex;
  std::vector<Responder> waiting;
  std::atomic<bool> done{false};
  HttpServer server({}, ample_budget(), [&](HttpRequest, Responder responder) {
    std::lock_guard lock(mutex);
    waiting.push_back(std::move(responder));
  });
  ASSERT_TRUE(server.start().ok());
  std::thread worker([&] {
    std::vector<Responder> mine;
    while (!done) {
      {
        std::lock_guard lock(mutex);
        mine.swap(waiting);
      }
      for (Responder& responder : mine) {
        HttpResponse response = text_response(std::string(100, 'x'));
        all_fail_here = true;
        responder.send(std::move(response));
        all_fail_here = false;
      }
      mine.clear();
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < 20; ++i) {
    Client client(server.port());
    client.send(post("x"));
    EXPECT_TRUE(client.read_all().starts_with("HTTP/1.1 200 ")) << i;
  }
  done = true;
  worker.join();
}

TEST_F(HttpExceptions, InAHandlerAndInMake) {
  std::atomic<int> requests{0};
  HttpServer server({}, ample_budget(), [&](HttpRequest request, Responder responder) {
    ++requests;
    if (request.path() == "/handler") throw std::runtime_error("a bug");
    responder.send_made([]() -> HttpResponse { throw std::bad_alloc(); });
  });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  client.send(
      "GET /handler HTTP/1.1\r\nHost: h\r\n\r\n"
      "GET /make HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(count(client.read_all(), "HTTP/1.1 500 "), 2u);
  EXPECT_EQ(requests, 2);
  EXPECT_EQ(server.counters().exceptions, 2u);
}

}  // namespace
}  // namespace quern
