// Fails the N-th allocation, for every N in turn, on whichever thread of the server makes it: io (delivery), pool
// (parse, tokenize, submit, write), engine (collect). That costs one request; nothing of it stays.
#include <gtest/gtest.h>

#include <condition_variable>
#include <optional>

#include "api/api_server.h"
#include "api/test_config.h"
#include "base/test_failing_new.h"
#include "http/http_test_client.h"
#include "observe/log.h"

namespace quern {
namespace {

using failing_new::allocations_left;
using failing_new::exempt;

constexpr int32_t kWidth = 64;

/// Ends Jobs on a thread of its own, as an engine does; what a completion throws goes no further.
class ThreadEmbedder : public Embedder {
 public:
  explicit ThreadEmbedder(bool fails) : fails_(fails) {}
  ~ThreadEmbedder() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs) override {
    std::lock_guard lock(mutex_);
    std::vector<uint64_t> ids(jobs.size());
    waiting_.reserve(waiting_.size() + jobs.size());
    for (size_t i = 0; i < jobs.size(); ++i) {
      ids[i] = jobs[i].id = next_id_++;
      waiting_.push_back(std::move(jobs[i]));
    }
    wake_.notify_one();
    return ids;
  }
  void cancel(std::span<const uint64_t>) override {}  // they are aboard and will end
  Result<void> room(int64_t, int64_t) const override { return {}; }
  int thrown() const { return thrown_; }

 private:
  void run() {
    std::vector<Job> jobs;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      jobs.swap(waiting_);
      lock.unlock();
      for (Job& job : jobs) end(job);
      jobs.clear();
      lock.lock();
    }
  }
  void end(Job& job) {
    exempt = true;
    Output output;
    output.values.assign(kWidth, 0.125f);
    Result<Output> outcome(std::move(output));
    if (fails_) outcome = internal_error("the model failed: a message that is longer than any small string");
    exempt = false;
    try {
      job.completion(std::move(outcome), {1, 2, 3});
    } catch (const std::bad_alloc&) {
      ++thrown_;
    }
  }

  const bool fails_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Job> waiting_;
  uint64_t next_id_ = 1;
  bool stopping_ = false;
  std::atomic<int> thrown_{0};
  std::thread thread_{[this] { run(); }};  // last
};

struct Case {
  const char* name;
  bool on_pool;  // read and written there, else on the io thread
  bool fails;    // the model does
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.name; }

class ApiAllocation : public testing::TestWithParam<Case> {
 protected:
  ApiAllocation() { exempt = true; }
  ~ApiAllocation() override {
    allocations_left = -1;
    exempt = false;
  }

  void start() {
    ApiConfig config;
    config.pool_threads = 1;
    if (GetParam().on_pool) config.inline_body_bytes_max = config.inline_response_bytes_max = 0;
    ServedModel model = small_model();
    model.width = kWidth;
    model.embedder = &embedder_;
    api_.emplace(
        config, std::vector<ServedModel>{model}, [] { return Result<void>(); }, budget_, metrics_);
    HttpServerConfig http;
    http.http_threads = 1;
    http.write_timeout_ms = http.idle_timeout_ms = http.body_timeout_ms = 500;
    server_.emplace(http, budget_, [this](HttpRequest request, Responder responder) {
      api_->handle(std::move(request), std::move(responder));
    });
    ASSERT_TRUE(server_->start().ok());
  }
  /// The whole answer; empty where the connection was closed.
  std::string ask(const std::string& id) {
    Client client(server_->port());
    const std::string body = R"({"input":["one text","and another one"],"dimensions":32,"encoding_format":"base64"})";
    client.try_send("POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Request-Id: " + id +
                    "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return client.read_all();
  }
  /// Nothing of any request is left: no call, no byte.
  bool is_empty() {
    return becomes_true([this] { return api_->calls_live() == 0 && budget_.used_bytes() == 0; });
  }
  std::string status_line() const { return GetParam().fails ? "HTTP/1.1 500 " : "HTTP/1.1 200 "; }

  MemoryBudget budget_{int64_t{1} << 30};
  Metrics metrics_;
  ThreadEmbedder embedder_{GetParam().fails};
  std::optional<ApiServer> api_;
  std::optional<HttpServer> server_;
};

/// What happened while an allocation failed.
struct Round {
  std::string id;
  std::string status;           // "200", "500"; empty: the connection was closed
  uint64_t told_otherwise = 0;  // lines that were dropped and counted, exceptions that the transport logged
};

TEST_P(ApiAllocation, CostsOneRequestAndNothingOfItStays) {
  testing::internal::CaptureStderr();
  log_start({});
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_TRUE(ask("first").starts_with(status_line()));  // threads and counters have what they make once
  std::vector<Round> rounds;
  bool failed = true;
  for (int n = 0; failed; ++n) {
    ASSERT_LT(n, 2000) << "there is always one more allocation";
    const auto told = [this] { return log_lines_dropped() + server_->counters().exceptions; };
    const uint64_t before = told();
    Round round;
    round.id = "round-" + std::to_string(n);
    allocations_left = n;
    const std::string answer = ask(round.id);
    ASSERT_TRUE(is_empty()) << n;
    failed = allocations_left.exchange(-1) < 0;
    round.told_otherwise = told() - before;
    if (!answer.empty()) round.status = answer.substr(9, 3);
    EXPECT_TRUE(answer.empty() || round.status == "500" || round.status == "503" ||
                (round.status == "200" && !GetParam().fails))
        << n << ": " << answer;
    rounds.push_back(round);
    ASSERT_TRUE(ask("next").starts_with(status_line())) << n;
    ASSERT_TRUE(is_empty()) << n;
  }
  EXPECT_EQ(embedder_.thrown(), 0);
  EXPECT_GT(rounds.size(), 30u);
  server_->stop();
  log_stop();
  const std::string log = testing::internal::GetCapturedStderr();
  for (const Round& round : rounds) {
    const std::string line = "\"http.request.id\":\"" + round.id + "\",\"http.request.method\"";
    const size_t lines = count(log, line);
    EXPECT_LE(lines, 1u) << round.id;
    if (lines == 0) {
      EXPECT_TRUE(round.told_otherwise > 0 || round.status.empty()) << round.id << ": " << round.status;
      continue;
    }
    const std::string logged = log.substr(log.find(line), 400);
    const std::string code = "\"http.response.status_code\":" + (round.status.empty() ? "499" : round.status);
    if (round.told_otherwise == 0) {
      EXPECT_NE(logged.find(code + ","), std::string::npos) << round.status << " but " << logged;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ApiAllocation,
                         testing::Values(Case{"OnThePool", true, false}, Case{"OnTheIoThread", false, false},
                                         Case{"OnThePoolTheModelFails", true, true},
                                         Case{"OnTheIoThreadTheModelFails", false, true}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace quern
