// The API over the real transport and an embedder that remembers what it was asked.
#pragma once

#include <gtest/gtest.h>

#include <mutex>
#include <optional>

#include "api/api_server.h"
#include "api/test_config.h"
#include "base/test_heap.h"
#include "http/http_test_client.h"

namespace quern {

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
    http.error_response = [this](int status, std::string_view text, std::string_view client) {
      return api_->transport_error(status, text, client);
    };
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

}  // namespace quern
