// Clients leave at each stage of a request, over the real HttpServer and ApiServer: nothing of the request stays.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>

#include "api/api_server.h"
#include "api/test_config.h"
#include "http/http_server.h"

namespace quern {
namespace {

constexpr int32_t kWidth = 1024;
constexpr auto kPatience = std::chrono::seconds(20);  // a limit for what takes milliseconds

template <typename Condition>
void wait_until(Condition condition, const char* what) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << "still waiting for " << what;
    std::this_thread::yield();
  }
}

/// Holds the thread that comes through until it is opened.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    entered_ = true;
    wake_.notify_all();
    wake_.wait(lock, [this] { return open_; });
  }
  void wait_entered() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return entered_; });
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    wake_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool entered_ = false;
  bool open_ = false;
};

/// Jobs end when the test says so.
class HeldEmbedder : public Embedder {
 public:
  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs) override {
    std::lock_guard lock(mutex_);
    std::vector<uint64_t> ids;
    for (Job& job : jobs) {
      ids.push_back(job.id = next_id_++);
      jobs_.push_back(std::move(job));
    }
    return ids;
  }
  void cancel(std::span<const uint64_t> ids) override {
    std::vector<Job> cancelled;
    {
      std::lock_guard lock(mutex_);
      ++cancels_;
      if (aboard_) return;
      for (uint64_t id : ids) {
        const auto found = std::find_if(jobs_.begin(), jobs_.end(), [id](const Job& job) { return job.id == id; });
        if (found == jobs_.end()) continue;
        cancelled.push_back(std::move(*found));
        jobs_.erase(found);
      }
    }
    for (Job& job : cancelled) job.completion(Error{ErrorCode::kCancelled, "the client left", "", 0}, {});
  }
  Result<void> room(int64_t, int64_t) const override { return {}; }

  void set_aboard() { aboard_ = true; }
  size_t held() {
    std::lock_guard lock(mutex_);
    return jobs_.size();
  }
  int cancels() {
    std::lock_guard lock(mutex_);
    return cancels_;
  }
  void end_all() {
    std::vector<Job> ended;
    {
      std::lock_guard lock(mutex_);
      ended.swap(jobs_);
    }
    Output output;
    output.values.assign(kWidth, 1.0f / 32);
    for (Job& job : ended) job.completion(output, {1, 1, 1});
  }

 private:
  std::mutex mutex_;
  std::vector<Job> jobs_;
  uint64_t next_id_ = 1;
  int cancels_ = 0;
  std::atomic<bool> aboard_{false};
};

/// A client that leaves with a reset, so that the server hears of it at once.
class Client {
 public:
  explicit Client(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Client() { leave(); }
  void send(const std::string& bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t now = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      ASSERT_GT(now, 0);
      sent += static_cast<size_t>(now);
    }
  }
  void post(const std::string& body, size_t content_length = 0) {
    send("POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: " +
         std::to_string(content_length ? content_length : body.size()) + "\r\n\r\n" + body);
  }
  void get(const std::string& path) { send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }
  void leave() {
    if (socket_ < 0) return;
    const linger reset{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    ::close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
};

std::string text_body(size_t bytes, const std::string& begin = "") {
  return R"({"input":")" + begin + std::string(bytes, 'x') + "\"}";
}

class Leave : public testing::TestWithParam<const char*> {
 protected:
  void start(int64_t inline_response_bytes_max = 256 * 1024) {
    ApiConfig config;
    config.pool_threads = 1;
    config.inline_response_bytes_max = inline_response_bytes_max;
    ServedModel model = small_model();
    model.width = kWidth;
    model.context_tokens_max = 100'000;
    model.embedder = &embedder_;
    model.encode = [this](std::string_view, std::string_view text, int32_t,
                          Truncation) -> Result<std::vector<int32_t>> {
      if (text.starts_with("block")) pool_gate_.pass();
      return std::vector<int32_t>{1, 999};
    };
    api_.emplace(
        config, std::vector<ServedModel>{model}, [] { return Result<void>(); }, budget_, metrics_);
    HttpServerConfig http;
    http.http_threads = 1;
    server_.emplace(http, budget_, [this](HttpRequest request, Responder responder) {
      if (request.path() == "/gate0") gates_[0].pass();
      if (request.path() == "/gate1") gates_[1].pass();
      api_->handle(std::move(request), std::move(responder));
    });
    ASSERT_TRUE(server_->start().ok());
  }
  uint64_t count_of_499() {
    const std::string text = metrics_.text();
    const std::string line = "quern_requests_total{code=\"499\",route=\"embeddings\"} ";
    const size_t at = text.find(line);
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + line.size()));
  }
  int64_t live() { return api_->calls_live(); }
  uint64_t disconnects() { return server_->counters().disconnects; }
  uint16_t port() { return server_->port(); }

  void run(const std::string& stage);

  Metrics metrics_;
  MemoryBudget budget_{int64_t{1} << 30};
  HeldEmbedder embedder_;
  Gate pool_gate_;
  Gate gates_[2];
  std::optional<ApiServer> api_;
  std::optional<HttpServer> server_;
};

void Leave::run(const std::string& stage) {
  start(stage == "delivering" ? 0 : 256 * 1024);
  Client client(port());
  Client other(port());
  uint64_t expected_499 = 1;
  if (stage == "read") {
    expected_499 = 0;
    client.post("{\"inp", 1000);
    wait_until([&] { return server_->counters().bytes_received > 0; }, "its first bytes");
  } else if (stage == "pool") {
    other.post(text_body(20'000, "block"));
    pool_gate_.wait_entered();
    client.post(text_body(20'000));
    wait_until([&] { return live() == 2; }, "the second request");
  } else if (stage == "writing") {
    expected_499 = 0;
    std::string ids = "[1]";
    for (int i = 1; i < 2048; ++i) ids += ",[1]";
    client.post("{\"input\":[" + ids + "]}");
    wait_until([&] { return embedder_.held() == 2048; }, "its Jobs");
    embedder_.end_all();
    wait_until([&] { return server_->counters().bytes_sent > 100'000; }, "the first of the answer");
  } else {
    client.post(text_body(10));
    wait_until([&] { return embedder_.held() == 1; }, "its Job");
  }
  if (stage == "delivering") {
    other.post(text_body(20'000, "block"));
    pool_gate_.wait_entered();
    embedder_.end_all();
  }
  if (stage == "aboard") embedder_.set_aboard();
  if (stage == "ended") {
    // The io thread hears of the leaving after the answer was made ready, and before it is delivered: it stands in
    // gate1 while the Job ends, with the leaving already in its hands.
    Client second(port());
    other.get("/gate0");
    gates_[0].wait_entered();
    second.get("/gate1");
    client.leave();
    gates_[0].open();
    gates_[1].wait_entered();
    embedder_.end_all();
    gates_[1].open();
  } else {
    client.leave();
  }
  if (stage == "pool" || stage == "delivering") {
    wait_until([&] { return disconnects() == 1; }, "the leaving");
    pool_gate_.open();
    wait_until([&] { return embedder_.held() == 1; }, "the other's Job");
    embedder_.end_all();
  }
  if (stage == "aboard") {
    wait_until([&] { return embedder_.cancels() == 1; }, "the cancel");
    EXPECT_EQ(live(), 1);
    embedder_.end_all();
  }
  if (stage != "read" && stage != "writing") {
    wait_until([&] { return count_of_499() == expected_499; }, "its 499");
  }
  wait_until([&] { return live() == 0; }, "the other's answer");  // it stays until it has it: else it were a second 499
  other.leave();
}

TEST_P(Leave, NothingStays) {
  run(GetParam());
  wait_until([&] { return live() == 0; }, "the last live call");
  wait_until([&] { return server_->counters().connections_open == 0; }, "the connections' end");
  wait_until([&] { return budget_.used_bytes() == 0; }, "the budget");
  EXPECT_EQ(count_of_499(), std::string(GetParam()) == "read" || std::string(GetParam()) == "writing" ? 0u : 1u);
  server_->stop();
}

INSTANTIATE_TEST_SUITE_P(Stages, Leave,
                         testing::Values("read", "pool", "queued", "aboard", "ended", "delivering", "writing"),
                         [](const auto& stage) { return std::string(stage.param); });

}  // namespace
}  // namespace quern
