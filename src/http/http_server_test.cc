#include "http/http_server.h"

#include <gtest/gtest.h>

#include <future>
#include <random>

#include "http/http_test_client.h"

namespace quern {
namespace {

TEST(HttpServer, AnswersWithWhatItWasGiven) {
  HttpServer server({}, ample_budget(), [](HttpRequest request, Responder responder) {
    EXPECT_EQ(request.method(), "POST");
    EXPECT_EQ(request.path(), "/a");
    EXPECT_EQ(request.target(), "/a?b=c");
    EXPECT_EQ(request.header("x-ONE"), "1");
    EXPECT_EQ(request.header("nope"), "");
    HttpResponse response = text_response(request.body + "!");
    response.add_header("x-evil", "a\r\nSet-Cookie: b");
    responder.send(std::move(response));
  });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  client.send("POST /a?b=c HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
  const std::string answer = client.read_all();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\nhello!")) << answer;
  EXPECT_NE(answer.find("x-evil: aSet-Cookie: b\r\n"), std::string::npos) << answer;
}

TEST(HttpServer, PortInUseIsAnError) {
  const HttpHandler nothing = [](HttpRequest, Responder) {};
  HttpServer first({}, ample_budget(), nothing);
  ASSERT_TRUE(first.start().ok());
  HttpServerConfig config;
  config.port = first.port();
  HttpServer second(config, ample_budget(), nothing);
  const auto started = second.start();
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().message.find(std::to_string(first.port())), std::string::npos);
}

TEST(HttpServer, DroppedResponderAndThrowingHandlerSend500) {
  HttpServer server({}, ample_budget(), [](HttpRequest request, Responder) {
    if (request.path() == "/throw") throw std::runtime_error("a bug");
  });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  client.send("GET /drop HTTP/1.1\r\nHost: h\r\n\r\nGET /throw HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(count(client.read_all(), "HTTP/1.1 500 "), 2u);
}

TEST(HttpServer, AnswersFromOtherThreadsStayInOrderAndBounded) {
  HttpServerConfig config;
  config.pipeline_requests_max = 4;
  std::atomic<int> waiting{0};
  std::atomic<int> waiting_max{0};
  std::mutex mutex;
  std::vector<std::pair<std::string, Responder>> held;
  std::atomic<bool> done{false};
  HttpServer server(config, ample_budget(), [&](HttpRequest request, Responder responder) {
    int now = ++waiting;
    int seen = waiting_max.load();
    while (now > seen && !waiting_max.compare_exchange_weak(seen, now)) {
    }
    std::lock_guard lock(mutex);
    held.emplace_back(std::string(request.path()), std::move(responder));
  });
  ASSERT_TRUE(server.start().ok());
  std::thread answerer([&] {
    std::mt19937 random(7);
    while (!done) {
      std::unique_lock lock(mutex);
      if (held.empty()) {
        lock.unlock();
        std::this_thread::yield();
        continue;
      }
      const size_t pick = random() % held.size();
      auto [path, responder] = std::pair<std::string, Responder>(std::move(held[pick]));
      std::vector<std::pair<std::string, Responder>> rest;
      for (size_t i = 0; i < held.size(); ++i) {
        if (i != pick) rest.push_back(std::move(held[i]));
      }
      held.swap(rest);
      lock.unlock();
      --waiting;
      responder.send(text_response("<" + path + ">"));
    }
  });
  Client client(server.port());
  std::string requests;
  std::string expected;
  constexpr int kRequests = 300;
  for (int i = 0; i < kRequests; ++i) {
    requests += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n" +
                (i == kRequests - 1 ? "Connection: close\r\n" : "") + "\r\n";
  }
  client.send(requests);
  const std::string answer = client.read_all();
  size_t at = 0;
  for (int i = 0; i < kRequests; ++i) {
    const size_t found = answer.find("</" + std::to_string(i) + ">", at);
    ASSERT_NE(found, std::string::npos) << i;
    at = found;
  }
  EXPECT_LE(waiting_max.load(), 4);
  done = true;
  answerer.join();
}

TEST(HttpServer, AnswerMadeOnTheIoThread) {
  std::thread worker;
  std::atomic<bool> same{false};
  HttpServer server({}, ample_budget(), [&](HttpRequest, Responder responder) {
    const auto io_thread = std::this_thread::get_id();
    worker = std::thread([&same, io_thread, responder = std::move(responder)]() mutable {
      responder.send_made([&same, io_thread] {
        same = std::this_thread::get_id() == io_thread;
        return text_response(std::string(1 << 20, 'x'));
      });
    });
  });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  client.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_GT(client.read_all().size(), size_t{1} << 20);
  worker.join();
  EXPECT_TRUE(same);
}

TEST(HttpServer, StopFinishesWhatWasAcceptedAndIsIdempotent) {
  std::promise<Responder> handed;
  HttpServer server({}, ample_budget(),
                    [&](HttpRequest, Responder responder) { handed.set_value(std::move(responder)); });
  ASSERT_TRUE(server.start().ok());
  Client idle(server.port());
  Client busy(server.port());
  busy.send(kGet);
  auto future = handed.get_future();
  Responder responder = future.get();
  std::thread stopper([&] { server.stop(); });
  EXPECT_EQ(idle.read_all(), "");
  responder.send(text_response("late but here"));
  EXPECT_TRUE(busy.read_all().ends_with("late but here"));
  stopper.join();
  server.stop();
}

TEST(HttpServer, ResponderMayOutliveTheServer) {
  std::promise<Responder> handed;
  HttpServerConfig config;
  config.drain_timeout_ms = 50;
  auto server = std::make_unique<HttpServer>(
      config, ample_budget(), [&](HttpRequest, Responder responder) { handed.set_value(std::move(responder)); });
  ASSERT_TRUE(server->start().ok());
  Client client(server->port());
  client.send(kGet);
  Responder responder = handed.get_future().get();
  server.reset();
  EXPECT_TRUE(responder.disconnected());
  responder.send(text_response("to nobody"));
}

TEST(HttpServer, TimeoutsAreEnforced) {
  const HttpHandler answer = [](HttpRequest, Responder responder) { responder.send(text_response("x")); };
  HttpServerConfig impatient;
  impatient.header_timeout_ms = impatient.body_timeout_ms = 50;
  HttpServer server(impatient, ample_budget(), answer);
  ASSERT_TRUE(server.start().ok());
  Client head(server.port());
  Client body(server.port());
  head.send("GET / HT");
  body.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx");
  EXPECT_TRUE(head.read_all().starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(body.read_all().starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(becomes_true([&] { return server.counters().timeouts == 2; }));
  HttpServerConfig tidy;
  tidy.idle_timeout_ms = 50;
  HttpServer other(tidy, ample_budget(), answer);
  ASSERT_TRUE(other.start().ok());
  EXPECT_EQ(Client(other.port()).read_all(), "");
  EXPECT_EQ(other.counters().timeouts, 0u);
}

TEST(HttpServer, ReaderThatNeverReadsIsCut) {
  HttpServerConfig config;
  config.write_timeout_ms = 50;
  HttpServer server(config, ample_budget(), [](HttpRequest, Responder responder) {
    responder.send(text_response(std::string(64 << 20, 'x')));
  });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  client.send(kGet);
  EXPECT_TRUE(becomes_true([&] { return server.counters().timeouts == 1; }));
  EXPECT_TRUE(becomes_true([&] { return server.counters().connections_open == 0; }));
}

// Two clients, so that one is on the second io thread, which is busy past a tick when stop() cuts it: the tick that is
// due by then must not set the next one.
TEST(HttpServer, StopEndsALoopWhoseTickIsDue) {
  HttpServerConfig config;
  config.http_threads = 2;
  config.drain_timeout_ms = 0;
  std::atomic<int> busy{0};
  auto server = std::make_unique<HttpServer>(config, ample_budget(), [&](HttpRequest request, Responder responder) {
    if (request.path() == "/slow" && ++busy == 2) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    responder.send(text_response("done"));
  });
  ASSERT_TRUE(server->start().ok());
  Client first(server->port());
  Client second(server->port());
  first.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(becomes_true([&] { return busy == 1; }));
  second.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(becomes_true([&] { return busy == 2; }));
  std::promise<void> stopped;
  std::thread stopper([&] {
    server->stop();
    stopped.set_value();
  });
  const bool ended = stopped.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready;
  if (!ended) std::abort();  // the thread cannot be joined: nothing else ends this test
  stopper.join();
}

// A reader that never stops taking a little holds its answer no longer than the answer's size allows.
TEST(HttpServer, AReaderThatIsTooSlowOnAverageIsCut) {
  constexpr size_t kBytes = 64 << 20;
  HttpServerConfig config;
  config.write_timeout_ms = 400;
  config.write_bytes_per_s_min = int64_t{1} << 40;
  HttpServer server(config, ample_budget(),
                    [](HttpRequest, Responder responder) { responder.send(text_response(std::string(kBytes, 'x'))); });
  ASSERT_TRUE(server.start().ok());
  Client slow(server.port());
  slow.send("GET / HTTP/1.0\r\n\r\n");
  size_t taken = 0;
  while (const size_t bytes = slow.read_some(16 * 1024)) {
    taken += bytes;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_LT(taken, kBytes);
  EXPECT_EQ(server.counters().timeouts, 1u);
  EXPECT_TRUE(becomes_true([&] { return server.counters().connections_open == 0; }));
}

// And one that is fast enough is not cut because the kernel tells only now and then what it took.
TEST(HttpServer, AReaderThatIsSlowAndSteadyIsNotCut) {
  HttpServerConfig config;
  config.write_timeout_ms = 1000;
  HttpServer server(config, ample_budget(), [](HttpRequest, Responder responder) {
    responder.send(text_response(std::string(64 << 20, 'x')));
  });
  ASSERT_TRUE(server.start().ok());
  Client steady(server.port());
  steady.send(kGet);
  // Half a MiB each second: with the 4 MiB that a buffer grows to, a third of it would take nearly three.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::chrono::steady_clock::now() < end && steady.read_some(16 * 1024) > 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(32));
  EXPECT_EQ(server.counters().timeouts, 0u);
}

// What a client is late with does not depend on what it is late in taking.
TEST(HttpServer, ASlowBodyIsTimedWhileAnAnswerIsWritten) {
  HttpServerConfig config;
  config.body_timeout_ms = 50;
  HttpServer server(config, ample_budget(), [](HttpRequest, Responder responder) {
    responder.send(text_response(std::string(64 << 20, 'x')));
  });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  client.send(std::string(kGet) + "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
  EXPECT_TRUE(becomes_true([&] { return server.counters().timeouts == 1; }));
  EXPECT_TRUE(client.read_all().find("HTTP/1.1 408 ") != std::string::npos);
}

}  // namespace
}  // namespace quern
