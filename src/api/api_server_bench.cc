// The API over an engine that costs nothing: what the server itself can do, and a server for protocol tests.
//
//   api_server_bench [--port N] [--host H] [--threads N] [--width N] [--context N] [--log-level L] [--api-key
//   KEY:TENANT]...
//                    [--delay-ms N] [--connections-max N] [--header-timeout-ms N] [--body-timeout-ms N]
//                    [--idle-timeout-ms N]
//                    [--body-bytes-max N] [--buffered-bytes-max N] [--cors ORIGIN]... [--model-name NAME]...
//                    [--refuse-token-ids 1]
//
// A byte is a token; the vector is a pure function of the ids. Prints "listening on HOST:PORT" once ready; SIGTERM
// drains. An input that starts with "fail:" ends as its Job's failure: fail:nan, fail:norm, fail:internal,
// fail:overloaded, fail:hang (until cancelled). --delay-ms answers from another thread that much later.
#include <signal.h>

#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <queue>
#include <thread>

#include "api/api_server.h"
#include "api/prompts.h"
#include "base/clock.h"
#include "base/version.h"
#include "http/http_server.h"
#include "observe/log.h"

namespace quern {
namespace {

constexpr int32_t kByteVocab = 257;
constexpr int32_t kByteEos = 256;

Result<std::vector<int32_t>> encode_bytes(std::string_view prompt, std::string_view text, int32_t tokens_max,
                                          Truncation side) {
  std::string bytes(prompt);
  bytes.append(text);
  const auto bytes_max = static_cast<size_t>(tokens_max - 1);
  if (bytes.size() > bytes_max) {
    if (side == Truncation::kNone) {
      return invalid_argument("text has " + std::to_string(bytes.size() + 1) + " tokens, the limit is " +
                              std::to_string(tokens_max));
    }
    bytes = side == Truncation::kLeft ? bytes.substr(bytes.size() - bytes_max) : bytes.substr(0, bytes_max);
  }
  std::vector<int32_t> ids(bytes.size() + 1);
  for (size_t i = 0; i < bytes.size(); ++i) ids[i] = static_cast<unsigned char>(bytes[i]);
  ids.back() = kByteEos;
  return ids;
}

Output vector_of(const std::vector<int32_t>& ids, int32_t width) {
  uint64_t hash = 1469598103934665603ULL;
  for (int32_t id : ids) hash = (hash ^ static_cast<uint64_t>(id)) * 1099511628211ULL;
  Output vector;
  vector.values.resize(static_cast<size_t>(width));
  double squared = 0;
  for (float& value : vector.values) {
    hash = hash * 6364136223846793005ULL + 1442695040888963407ULL;
    value = static_cast<float>(static_cast<int32_t>(hash >> 32)) * 0x1p-31f;
    squared += static_cast<double>(value) * value;
  }
  const auto scale = static_cast<float>(1.0 / std::sqrt(squared));
  for (float& value : vector.values) value *= scale;
  return vector;
}

std::string text_of(const std::vector<int32_t>& ids) { return std::string(ids.begin(), ids.end() - 1); }

class FakeEngine : public Embedder {
 public:
  FakeEngine(int32_t width, int64_t delay_us) : width_(width), delay_us_(delay_us) {
    if (delay_us_ > 0) thread_ = std::thread([this] { run(); });
  }
  ~FakeEngine() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs) override {
    std::vector<uint64_t> ids;
    for (Job& job : jobs) {
      if (text_of(job.token_ids) == "fail:overloaded") {
        return Error{ErrorCode::kOverloaded, "The queue is full; try again later.", "", 3};
      }
      ids.push_back(job.id = next_id_.fetch_add(1));
    }
    for (Job& job : jobs) {
      const bool hangs = text_of(job.token_ids) == "fail:hang";
      if (!hangs && delay_us_ == 0) {
        finish(job);
        continue;
      }
      std::lock_guard lock(mutex_);
      if (hangs) {
        hanging_.emplace(job.id, std::move(job));
      } else {
        waiting_.emplace_back(now_us() + delay_us_, std::move(job));
        wake_.notify_one();
      }
    }
    return ids;
  }

  void cancel(std::span<const uint64_t> ids) override {
    for (uint64_t id : ids) {
      std::unique_lock lock(mutex_);
      auto node = hanging_.extract(id);
      lock.unlock();
      if (!node.empty()) node.mapped().completion(Error{ErrorCode::kCancelled, "cancelled", "", 0}, {});
    }
  }

  Result<void> room(int64_t, int64_t) const override { return {}; }

 private:
  void finish(const Job& job) {
    JobTiming timing{now_us(), now_us(), now_us()};
    const std::string text = text_of(job.token_ids);
    Output vector = vector_of(job.token_ids, width_);
    if (text == "fail:nan") vector.values[7] = std::numeric_limits<float>::quiet_NaN();
    if (text == "fail:norm") vector.values[7] += 1;
    if (text == "fail:internal") return job.completion(internal_error("this Job failed, as asked"), timing);
    job.completion(std::move(vector), timing);
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (!stopping_ || !waiting_.empty()) {
      if (waiting_.empty()) {
        wake_.wait(lock);
        continue;
      }
      const int64_t wait_us = waiting_.front().first - now_us();
      if (wait_us > 0) {
        wake_.wait_for(lock, std::chrono::microseconds(wait_us));
        continue;
      }
      const Job job = std::move(waiting_.front().second);
      waiting_.pop_front();
      lock.unlock();
      finish(job);
      lock.lock();
    }
  }

  const int32_t width_;
  const int64_t delay_us_;
  std::atomic<uint64_t> next_id_{1};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::pair<int64_t, Job>> waiting_;
  std::map<uint64_t, Job> hanging_;
  bool stopping_ = false;
  std::thread thread_;
};

struct Options {
  ApiConfig api;
  ServedModel model;
  HttpServerConfig http;
  LogLevel log_level = LogLevel::kWarn;
  int64_t delay_ms = 0;
  int64_t buffered_bytes_max = int64_t{1} << 30;
};

bool parse_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 >= argc) return false;
    const std::string_view name = argv[i];
    const char* value = argv[i + 1];
    const int64_t number = std::atoll(value);
    if (name == "--port")
      options.http.port = static_cast<uint16_t>(number);
    else if (name == "--host")
      options.http.host = value;
    else if (name == "--threads")
      options.http.http_threads = static_cast<int>(number);
    else if (name == "--width")
      options.model.width = static_cast<int32_t>(number);
    else if (name == "--context")
      options.model.context_tokens_max = static_cast<int32_t>(number);
    else if (name == "--delay-ms")
      options.delay_ms = number;
    else if (name == "--connections-max")
      options.http.connections_max = static_cast<int>(number);
    else if (name == "--header-timeout-ms")
      options.http.header_timeout_ms = number;
    else if (name == "--body-timeout-ms")
      options.http.body_timeout_ms = number;
    else if (name == "--idle-timeout-ms")
      options.http.idle_timeout_ms = number;
    else if (name == "--body-bytes-max")
      options.http.body_bytes_max = options.api.body_bytes_max = number;
    else if (name == "--cors")
      options.api.cors_origins.push_back(value);
    else if (name == "--api-key" && std::strchr(value, ':'))
      options.api.api_keys.push_back({std::string(value, std::strchr(value, ':')), std::strchr(value, ':') + 1, 100});
    else if (name == "--model-name")
      options.model.names.push_back(value);
    else if (name == "--buffered-bytes-max")
      options.buffered_bytes_max = number;
    else if (name == "--refuse-token-ids")
      options.api.refuse_token_ids = number != 0;
    else if (name == "--log-level" && parse_log_level(value, options.log_level))
      continue;
    else
      return false;
  }
  return true;
}

int serve(Options options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  log_start({.level = options.log_level, .service_version = "bench"});
  Metrics metrics;
  FakeEngine engine(options.model.width, options.delay_ms * 1000);
  options.model.embedder = &engine;
  options.model.encode = encode_bytes;
  MemoryBudget budget(options.buffered_bytes_max);
  ApiServer api(
      options.api, {options.model}, [] { return Result<void>(); }, budget, metrics);
  options.http.error_response = [&api](int status, std::string_view message, std::string_view client) {
    return api.transport_error(status, message, client);
  };
  HttpServer http(options.http, budget, [&api](HttpRequest request, Responder responder) {
    api.handle(std::move(request), std::move(responder));
  });
  if (const auto started = http.start(); !started) {
    std::fprintf(stderr, "%s\n", started.error().message.c_str());
    return 1;
  }
  api.watch(http.counters());
  std::printf("listening on %s:%d\n", options.http.host.c_str(), http.port());
  std::fflush(stdout);
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  http.stop();
  log_stop();
  return 0;
}

}  // namespace
}  // namespace quern

int main(int argc, char** argv) {
  quern::Options options;
  options.api.version = quern::kVersion;
  options.api.commit = quern::kCommit;
  options.model.names = {"quern-bench", "text-embedding-3-small"};
  options.model.width = 1024;
  options.model.context_tokens_max = 32768;
  options.model.vocab_tokens = quern::kByteVocab;
  options.model.eos_token_id = quern::kByteEos;
  options.model.prompts = quern::default_prompts();
  if (!quern::parse_options(argc, argv, options)) {
    std::fprintf(stderr, "usage: see the head of api_server_bench.cc\n");
    return 2;
  }
  return quern::serve(std::move(options));
}
