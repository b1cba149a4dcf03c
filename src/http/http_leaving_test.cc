// Clients that leave, or seem to: what is computed for them ends, what they wait for comes, nothing stays behind.
#include <gtest/gtest.h>

#include <future>
#include <mutex>

#include "http/http_test_client.h"

namespace quern {
namespace {

/// Stands for what computes an answer, and like it owns its Responder.
struct Call {
  explicit Call(Responder responder_in) : responder(std::move(responder_in)) { live.fetch_add(1); }
  ~Call() { live.fetch_sub(1); }
  Responder responder;
  static inline std::atomic<int> live{0};
};

TEST(HttpLeaving, TellsWhenTheClientLeaves) {
  for (const bool by_reset : {false, true}) {
    std::atomic<int> told{0};
    std::promise<Responder> handed;
    HttpServer server({}, ample_budget(), [&](HttpRequest, Responder responder) {
      responder.on_disconnect([&] { ++told; });
      handed.set_value(std::move(responder));
    });
    ASSERT_TRUE(server.start().ok());
    Client client(server.port());
    client.send(kGet);
    Responder responder = handed.get_future().get();
    EXPECT_FALSE(responder.disconnected());
    by_reset ? client.reset() : client.close();
    EXPECT_TRUE(becomes_true([&] { return told == 1; }));
    EXPECT_TRUE(responder.disconnected());
    EXPECT_EQ(server.counters().disconnects, 1u);
    responder.on_disconnect([&] { ++told; });  // late: told at once
    EXPECT_EQ(told, 2);
    responder.send(text_response("to nobody"));
  }
}

// The connection is read no further then; it must hear of the leaving all the same, before any answer.
TEST(HttpLeaving, TellsWhenTheClientLeavesWithItsReadAheadFull) {
  HttpServerConfig config;
  config.pipeline_requests_max = 2;
  std::atomic<int> told{0};
  std::mutex mutex;
  std::vector<Responder> held;
  HttpServer server(config, ample_budget(), [&](HttpRequest, Responder responder) {
    responder.on_disconnect([&] { ++told; });
    std::lock_guard lock(mutex);
    held.push_back(std::move(responder));
  });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  std::string pipeline = std::string(kGet) + std::string(kGet);
  while (pipeline.size() < 2 * kGet.size() + 64 * 1024) pipeline += kGet;
  client.send(pipeline);
  ASSERT_TRUE(becomes_true([&] { return server.counters().bytes_received >= 2 * kGet.size() + 64 * 1024; }));
  EXPECT_EQ(server.counters().requests, 2u);
  client.reset();
  EXPECT_TRUE(becomes_true([&] { return server.counters().disconnects == 1; }));
  EXPECT_EQ(told, 2);
  EXPECT_EQ(server.counters().bytes_sent, 0u);
}

TEST(HttpLeaving, NotToldAfterTheAnswer) {
  std::atomic<int> told{0};
  HttpServer server({}, ample_budget(), [&](HttpRequest, Responder responder) {
    responder.on_disconnect([&] { ++told; });
    responder.send(text_response("x"));
  });
  ASSERT_TRUE(server.start().ok());
  {
    Client client(server.port());
    client.send(kGet);
    client.close();
  }
  EXPECT_TRUE(becomes_true([&] { return server.counters().requests == 1 && server.counters().connections_open == 0; }));
  EXPECT_EQ(told, 0);
}

// The client leaves between the hand-over of its answer and its delivery, which are two messages to the io thread. The
// gate puts them there in that order: while the thread is held in /gate, the leaver closes after /answer was sent, so
// the thread sees both at once; in /answer, it waits until the worker has handed the answer over; next it sees the end
// of file (a reset, so that it counts at once), and only then the answer.
TEST(HttpLeaving, NothingStaysWhenTheClientLeavesBeforeDelivery) {
  HttpServerConfig config;
  config.http_threads = 1;
  std::promise<void> in_gate, gate_open;
  std::shared_ptr<Call> call;
  std::atomic<bool> made{false};
  HttpServer server(config, ample_budget(), [&](HttpRequest request, Responder responder) {
    if (request.path() == "/leave") {
      call = std::make_shared<Call>(std::move(responder));
      call->responder.on_disconnect([call = call] {});
    } else if (request.path() == "/gate") {
      in_gate.set_value();
      gate_open.get_future().wait();
      responder.send(text_response("open"));
    } else {
      std::thread worker([&] {
        Responder& answers = call->responder;
        answers.send_made([&made, call = std::move(call)] {
          made = true;
          return text_response("to nobody");
        });
      });
      worker.join();
      responder.send(text_response("handed over"));
    }
  });
  ASSERT_TRUE(server.start().ok());
  Client leaver(server.port());
  Client gate(server.port());
  Client answer(server.port());
  leaver.send("GET /leave HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(becomes_true([&] { return server.counters().requests == 1; }));
  gate.send("GET /gate HTTP/1.1\r\nHost: h\r\n\r\n");
  in_gate.get_future().wait();
  answer.send("GET /answer HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  leaver.reset();
  gate_open.set_value();
  EXPECT_TRUE(answer.read_all().ends_with("handed over"));
  EXPECT_FALSE(made);  // else this test has missed the moment it is about
  EXPECT_TRUE(becomes_true([&] { return Call::live == 0; }));
}

// The same for every stage, by chance, many times; for the thread sanitizer above all.
TEST(HttpLeaving, NothingStaysWheneverTheClientLeaves) {
  {
    std::mutex mutex;
    std::vector<std::shared_ptr<Call>> waiting;
    std::atomic<bool> done{false};
    HttpServer server({}, ample_budget(), [&](HttpRequest, Responder responder) {
      auto call = std::make_shared<Call>(std::move(responder));
      call->responder.on_disconnect([call] {});
      std::lock_guard lock(mutex);
      waiting.push_back(std::move(call));
    });
    ASSERT_TRUE(server.start().ok());
    std::thread worker([&] {
      while (!done) {
        std::vector<std::shared_ptr<Call>> calls;
        {
          std::lock_guard lock(mutex);
          calls.swap(waiting);
        }
        for (auto& call : calls) {
          Responder& responder = call->responder;
          responder.send_made([call = std::move(call)] { return text_response(std::string(40'000, 'x')); });
        }
        std::this_thread::yield();
      }
    });
    for (int i = 0; i < 600; ++i) {
      Client client(server.port());
      client.send(i % 3 == 0 ? kGet.substr(0, 20) : kGet);
      for (int spin = 0; spin < i % 50; ++spin) std::this_thread::yield();
      i % 2 ? client.close() : client.reset();
    }
    EXPECT_TRUE(becomes_true([&] { return server.counters().connections_open == 0; }));
    done = true;
    worker.join();
    waiting.clear();
    EXPECT_TRUE(becomes_true([&] { return server.counters().requests_in_flight == 0; }));
  }
  EXPECT_EQ(Call::live, 0);
}

TEST(HttpLeaving, HalfClosedClientGetsAllItsAnswers) {
  HttpServerConfig config;
  config.pipeline_requests_max = 2;
  config.half_close_grace_ms = 60'000;
  std::mutex mutex;
  std::vector<Responder> waiting;
  HttpServer server(config, ample_budget(), [&](HttpRequest, Responder responder) {
    std::lock_guard lock(mutex);
    waiting.push_back(std::move(responder));
  });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  std::string requests;
  for (int i = 0; i < 7; ++i) requests += kGet;  // more than are taken at once
  client.send(requests + "GET /half");
  client.half_close();
  std::thread worker([&] {
    for (int answered = 0; answered < 7;) {
      std::vector<Responder> now;
      {
        std::lock_guard lock(mutex);
        for (Responder& responder : waiting) now.push_back(std::move(responder));
        waiting.clear();
      }
      for (Responder& responder : now) {
        ++answered;
        responder.send(text_response("late"));
      }
      std::this_thread::yield();
    }
  });
  const std::string answers = client.read_all();
  worker.join();
  EXPECT_EQ(count(answers, "HTTP/1.1 200 OK"), 7u) << answers;
  EXPECT_EQ(count(answers, "HTTP/1.1 "), 7u) << answers;
  EXPECT_EQ(server.counters().disconnects, 0u);
}

TEST(HttpLeaving, HalfClosedClientIsAskedOnceAndThenAnswered) {
  HttpServerConfig config;
  config.half_close_grace_ms = 1;
  std::promise<Responder> handed;
  HttpServer server(config, ample_budget(),
                    [&](HttpRequest, Responder responder) { handed.set_value(std::move(responder)); });
  ASSERT_TRUE(server.start().ok());
  Client client(server.port());
  client.send(kGet);
  client.half_close();
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  Responder responder = handed.get_future().get();
  EXPECT_FALSE(responder.disconnected());
  responder.send(text_response("late but here"));
  const std::string answer = client.read_all();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK")) << answer;
  EXPECT_TRUE(answer.ends_with("late but here")) << answer;
}

// HTTP/1.0 knows no interim answers: within the grace it is answered, after it it counts as gone.
TEST(HttpLeaving, HalfClosedOldClientHasTheGraceOnly) {
  for (const int64_t grace_ms : {int64_t{1}, int64_t{60'000}}) {
    HttpServerConfig config;
    config.half_close_grace_ms = grace_ms;
    std::promise<Responder> handed;
    HttpServer server(config, ample_budget(),
                      [&](HttpRequest, Responder responder) { handed.set_value(std::move(responder)); });
    ASSERT_TRUE(server.start().ok());
    Client client(server.port());
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.half_close();
    Responder responder = handed.get_future().get();
    EXPECT_EQ(grace_ms == 1 && becomes_true([&] { return responder.disconnected(); }), grace_ms == 1);
    responder.send(text_response("here"));
    EXPECT_EQ(count(client.read_all(), "here"), grace_ms == 1 ? 0u : 1u);
  }
}

// Bytes in the kernel when stop() comes are a request received: all of a pipeline is answered, and a head that has
// begun may be finished.
TEST(HttpLeaving, StopAnswersWhatHasComeAndWhatHasBegun) {
  HttpServerConfig config;
  config.http_threads = 1;
  config.pipeline_requests_max = 2;
  std::promise<void> in_gate, gate_open;
  HttpServer server(config, ample_budget(), [&](HttpRequest request, Responder responder) {
    if (request.path() == "/gate") {
      in_gate.set_value();
      gate_open.get_future().wait();
    }
    responder.send(text_response("answer"));
  });
  ASSERT_TRUE(server.start().ok());
  Client begun(server.port());
  begun.send("GET / HT");
  Client idle(server.port());
  idle.send(kGet);
  idle.read_until("answer");
  Client gate(server.port());
  gate.send("GET /gate HTTP/1.1\r\nHost: h\r\n\r\n");
  in_gate.get_future().wait();
  std::string pipeline;
  for (int i = 0; i < 9; ++i) pipeline += kGet;
  gate.send(pipeline);
  idle.send(kGet);
  std::thread stopper([&] { server.stop(); });
  gate_open.set_value();
  EXPECT_EQ(count(gate.read_all(), "answer"), 10u);
  EXPECT_EQ(count(idle.read_all(), "answer"), 1u);
  begun.send("TP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(count(begun.read_all(), "answer"), 1u);
  stopper.join();
}

}  // namespace
}  // namespace quern
