// Service: the server, every part of it in the order in which it depends on the others.
//
// Owns log, metrics, memory budget, model, engine, API and transport; they end in the opposite order. start() listens,
// so that /health answers while load() reads the weights; stop() answers whatever was received in full. One thread
// makes, loads and stops it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "api/api_server.h"
#include "app/engine_metrics.h"
#include "app/gpu_monitor.h"
#include "app/late_embedder.h"
#include "app/machine.h"
#include "app/model_stack.h"
#include "app/options.h"
#include "base/memory_budget.h"
#include "engine/engine.h"
#include "http/http_server.h"
#include "model/model_folder.h"
#include "observe/log.h"
#include "observe/metrics.h"

namespace quern {

class Service {
 public:
  /// Reads the model folder, checks the limits against the machine and each other, and listens. Errors name flag or
  /// file.
  static Result<std::unique_ptr<Service>> start(const ServeOptions& options);
  /// Stops at once where stop() was not called: open requests are answered by errors.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// Reads the weights and compares the model with its known answers; requests are taken when it returns. `promise` is
  /// called just before: from then on a stop must answer what was received.
  Result<void> load(const std::function<void()>& promise);

  /// /ready says 503 and everything is served for --drain-grace-s, so that load balancers look elsewhere; then the
  /// listener closes, and what was received in full is answered for at most --drain-timeout-s.
  void stop();

  /// What is served, in plain words, for a person at a terminal; after load().
  std::string banner() const;

  uint16_t port() const { return server_->port(); }

 private:
  /// The log runs as long as anything else does.
  struct LogScope {
    explicit LogScope(const LogConfig& config) { log_start(config); }
    ~LogScope() { log_stop(); }
    LogScope(const LogScope&) = delete;
    LogScope& operator=(const LogScope&) = delete;
  };

  explicit Service(const ServeOptions& options);
  Result<void> prepare();
  Result<void> listen(std::vector<ApiKey> keys);
  Result<void> approve(const MemoryPlan& plan);
  Result<void> ready() const;

  ServeOptions options_;
  LogScope log_;
  Metrics metrics_;
  MachineLimits machine_;
  std::optional<MemoryBudget> budget_;
  int64_t planned_bytes_ = 0;
  bool has_keys_ = false;
  ModelFolder folder_;
  OpenDevice opened_;
  SchedulerConfig scheduler_config_;
  std::unique_ptr<GpuMonitor> gpu_monitor_;
  std::unique_ptr<ModelStack> model_;
  std::optional<EngineMetrics> engine_metrics_;
  std::unique_ptr<Engine> engine_;
  LateEmbedder embedder_;
  std::atomic<bool> draining_{false};
  std::unique_ptr<ApiServer> api_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace quern
