#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "api/api_server.h"
#include "base/clock.h"
#include "base/version.h"
#include "cli/api_keys.h"
#include "cli/commands.h"
#include "cli/engine_metrics.h"
#include "cli/model_stack.h"
#include "engine/engine.h"
#include "http/http_server.h"
#include "model/known_answers.h"
#include "observe/log.h"
#include "observe/metrics.h"
#include "worker/local_replica.h"

namespace quern {
namespace {

constexpr int64_t kMsPerSecond = 1000;

/// The engine behind the API: absent while the weights load, so that /health answers and /ready says why not.
class EngineSlot : public Embedder {
 public:
  void set(Engine* engine) { engine_.store(engine, std::memory_order_release); }
  void begin_drain() { draining_.store(true, std::memory_order_release); }

  Result<void> ready() const {
    if (draining_.load(std::memory_order_acquire))
      return Error{ErrorCode::kUnavailable, "the server is shutting down", "", 1};
    if (engine() == nullptr) return Error{ErrorCode::kUnavailable, "the model is loading", "", 1};
    return {};
  }

  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs) override {
    if (engine() == nullptr) return ready().error();
    return engine()->submit(std::move(jobs));
  }
  void cancel(std::span<const uint64_t> ids) override { engine()->cancel(ids); }
  Result<void> room(int64_t jobs, int64_t tokens) const override {
    return engine() == nullptr ? ready() : engine()->room(jobs, tokens);
  }

 private:
  Engine* engine() const { return engine_.load(std::memory_order_acquire); }
  std::atomic<Engine*> engine_{nullptr};
  std::atomic<bool> draining_{false};
};

ServedModel served_model(const ServeOptions& options, const ModelFolder& model, Embedder& embedder) {
  ServedModel served;
  served.names = options.served_model_names;
  // "*" alone stands for every name, and the model still has its own.
  if (served.names.empty() || served.names.front() == kAnyModelName)
    served.names.insert(served.names.begin(), model.name);
  served.created_s = static_cast<int64_t>(std::time(nullptr));
  served.width = model.width();
  served.context_tokens_max = model.context_tokens_max;
  served.vocab_tokens = model.vocab_rows();
  served.eos_token_id = model.tokenizer->eos_id();
  served.prompts = model.prompts;
  served.default_prompt = model.default_prompt;
  served.embedder = &embedder;
  served.encode = [&tokenizer = *model.tokenizer](std::string_view prompt, std::string_view text, int32_t tokens_max,
                                                  Truncation side) {
    const EncodeOptions encode{.tokens_max = static_cast<size_t>(tokens_max), .truncation = side};
    return tokenizer.encode(prompt, text, encode);
  };
  return served;
}

ApiConfig api_config(const ServeOptions& options, std::vector<ApiKey> keys) {
  ApiConfig config;
  config.inputs_max = options.inputs_max;
  config.timeout_ms_default = options.request_timeout_ms;
  config.refuse_token_ids = options.refuse_token_ids;
  config.api_keys = std::move(keys);
  if (!options.cors_origin.empty()) config.cors_origins = {options.cors_origin};
  config.version = kVersion;
  config.commit = kCommit;
  return config;
}

HttpServerConfig http_config(const ServeOptions& options, ApiServer& api) {
  HttpServerConfig config;
  config.host = options.host;
  config.port = options.port;
  config.http_threads = options.http_threads;
  config.connections_max = options.connections_max;
  config.header_bytes_max = options.header_bytes_max;
  config.body_bytes_max = options.body_bytes_max;
  config.header_timeout_ms = options.read_timeout_s * kMsPerSecond;
  config.body_timeout_ms = options.read_timeout_s * kMsPerSecond;
  config.idle_timeout_ms = options.idle_timeout_s * kMsPerSecond;
  config.drain_timeout_ms = options.drain_timeout_s * kMsPerSecond;
  config.error_response = [&api](int status, std::string_view message) { return api.transport_error(status, message); };
  return config;
}

int fail(const Error& error) {
  log_stop();
  return report_error("serve", error);
}

/// Written under another name first: a reader never sees half a number.
Result<void> write_port_file(const std::string& path, uint16_t port) {
  if (path.empty()) return {};
  std::ofstream(path + ".tmp") << port << '\n';
  std::error_code failed;
  std::filesystem::rename(path + ".tmp", path, failed);
  if (failed) return invalid_argument("cannot write " + path + ": " + failed.message(), "--port-file");
  return {};
}

Result<void> check_limits(const ServeOptions& options) {
  if (options.buffered_bytes_max >= options.body_bytes_max) return {};
  return invalid_argument("--max-buffered-bytes is " + std::to_string(options.buffered_bytes_max) +
                              ", less than --max-body-bytes, " + std::to_string(options.body_bytes_max) +
                              ": such a body could never be taken",
                          "--max-buffered-bytes");
}

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

int serve_command(const ServeOptions& options) {
  // Blocked here and so in every thread started below: only sigwait() takes them.
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  LogConfig log_config;
  (void)parse_log_level(options.log_level, log_config.level);  // the option's own check has passed
  log_config.service_version = kVersion;
  log_start(log_config);

  if (auto checked = check_limits(options); !checked) return fail(checked.error());
  auto keys = read_api_keys(options.api_keys, options.api_key_file);
  if (!keys) return fail(keys.error());
  auto model = read_model_folder(options.model);
  if (!model) return fail(model.error());
  for (const std::string& notice : model->notices) log_warn("model folder", {{"quern.notice", notice}});
  SchedulerConfig scheduler_config = make_scheduler_config(*model, options.model);
  scheduler_config.queue_tokens_max = options.queue_tokens_max;
  scheduler_config.queue_jobs_max = options.queue_jobs_max;
  if (auto checked = check_config(EngineConfig{scheduler_config}); !checked) return fail(checked.error());

  Metrics metrics;
  EngineSlot slot;
  MemoryBudget budget(options.buffered_bytes_max);
  std::unique_ptr<Engine> engine;  // outlives the API's calls: destroyed after `api` and `server`
  ApiServer api(
      api_config(options, std::move(*keys)), {served_model(options, *model, slot)}, [&slot] { return slot.ready(); },
      budget, metrics);
  HttpServer server(http_config(options, api), budget, [&api](HttpRequest request, Responder responder) {
    api.handle(std::move(request), std::move(responder));
  });
  api.watch(server.counters());
  if (auto started = server.start(); !started) return fail(started.error());
  if (auto written = write_port_file(options.port_file, server.port()); !written) return fail(written.error());
  log_info("listening", {{"server.address", options.host}, {"server.port", int64_t{server.port()}}});

  const int64_t load_begin_us = now_us();
  auto stack = load_model(std::move(*model), options.model);
  if (!stack) return fail(stack.error());
  EngineMetrics engine_metrics(metrics, scheduler_config);
  const EngineHooks hooks{[&engine_metrics](const StepReport& report) { engine_metrics.count(report); },
                          [](std::string_view what) {
                            log_error("engine failure", {{"error.message", what}});
                          }};
  const auto replica = local_replica([&stack](const Batch& batch) { return (*stack)->runner().run(batch); });
  engine = std::make_unique<Engine>(EngineConfig{scheduler_config}, std::vector{replica}, hooks);
  engine_metrics.watch(*engine);
  if (auto checked = check_model(**stack, *engine, options.model); !checked) return fail(checked.error());
  slot.set(engine.get());
  log_info("ready", {{"quern.model", (*stack)->files().name},
                     {"quern.dtype", (*stack)->dtype_name()},
                     {"quern.load_ms", (now_us() - load_begin_us) / 1000}});

  int signal_number = 0;
  sigwait(&signals, &signal_number);
  log_info("draining", {{"quern.signal", int64_t{signal_number}}});
  slot.begin_drain();
  server.stop();
  engine->drain();
  log_info("stopped", {});
  log_stop();
  return 0;
}

}  // namespace quern
