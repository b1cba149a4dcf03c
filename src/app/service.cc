#include "app/service.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "api/cors.h"
#include "app/api_keys.h"
#include "app/service_config.h"
#include "base/clock.h"
#include "base/excerpt.h"
#include "base/file_limit.h"
#include "base/version.h"
#include "model/known_answers.h"

namespace quern {
namespace {

LogConfig log_config(const ServeOptions& options) {
  LogConfig config;
  (void)parse_log_level(options.log_level, config.level);  // the option's own check has passed
  config.service_version = kVersion;
  config.plain = ::isatty(STDERR_FILENO) == 1;
  return config;
}

/// Written under another name first: a reader never sees half a number.
Result<void> write_port_file(const std::string& path, uint16_t port) {
  if (path.empty()) return {};
  std::ofstream file(path + ".tmp");
  file << port << '\n';
  file.close();
  if (!file)
    return invalid_argument("cannot write " + path + ".tmp: " + std::generic_category().message(errno), "--port-file");
  std::error_code failed;
  std::filesystem::rename(path + ".tmp", path, failed);
  if (failed) return invalid_argument("cannot write " + path + ": " + failed.message(), "--port-file");
  return {};
}

void log_memory(const MemoryPlan& plan, const MachineLimits& machine, const Device& device) {
  for (const MemoryRow& row : memory_rows(plan))
    log_info("memory", {{"quern.part", row.what}, {"quern.bytes", row.bytes}, {"quern.flags", row.flag}});
  if (device.is_gpu()) {
    const auto used = static_cast<int64_t>(device.room->total_bytes - device.room->free_bytes);
    log_info("memory",
             {{"quern.part", "in use before: CUDA's context, libraries, other processes"}, {"quern.bytes", used}});
    log_info("memory", {{"quern.part", "all on " + device.name},
                        {"quern.bytes", used + plan.model_bytes()},
                        {"quern.available_bytes", static_cast<int64_t>(device.room->total_bytes)},
                        {"quern.source", device.model}});
  }
  log_info("memory", {{"quern.part", device.is_gpu() ? "all on the host" : "all"},
                      {"quern.bytes", device.is_gpu() ? plan.requests_bytes : plan.total_bytes()},
                      {"quern.available_bytes", machine.memory_available_bytes},
                      {"quern.source", machine.memory_source}});
}

void log_lost(const Device& device) {
  log_error("the device has failed: nothing is computed until the server is started again",
            {{"quern.device", device.name}, {"quern.device_model", device.model}});
}

}  // namespace

Service::Service(const ServeOptions& options)
    : options_(options), log_(log_config(options)), machine_(read_machine_limits()) {}

Service::~Service() {
  draining_ = true;
  if (server_) server_->stop(0);
  if (engine_) engine_->drain();  // the last completions still find the API
}

Result<std::unique_ptr<Service>> Service::start(const ServeOptions& options) {
  auto keys = read_api_keys(options.api_keys, options.api_key_file);
  if (!keys) return keys.error();
  auto origins = parse_cors_origins(options.cors_origins);
  if (!origins) return origins.error();
  std::unique_ptr<Service> service(new Service(options));
  service->options_.cors_origins = std::move(*origins);
  if (auto prepared = service->prepare(); !prepared) return prepared.error();
  service->has_keys_ = !keys->empty();
  if (auto listening = service->listen(std::move(*keys)); !listening) return listening.error();
  return service;
}

Result<void> Service::prepare() {
  if (!options_.launch_notice.empty()) log_warn("flags of other servers", {{"quern.notice", options_.launch_notice}});
  if (auto checked = check_limits(options_); !checked) return checked;
  auto folder = read_model_folder(options_.model);
  if (!folder) return folder.error();
  folder_ = std::move(*folder);
  for (const std::string& notice : folder_.notices) log_warn("model folder", {{"quern.notice", notice}});
  auto opened = open_device(options_.model, machine_);
  if (!opened) return opened.error();
  opened_ = std::move(*opened);
  log_device(opened_.device);
  if (opened_.device.is_gpu()) {
    auto monitor = GpuMonitor::start(metrics_, opened_.device.bus_id);
    if (monitor) gpu_monitor_ = std::move(*monitor);
    if (!monitor) log_warn("no metrics of the GPU", {{"quern.notice", monitor.error().message}});
  }
  auto scheduler = make_scheduler_config(folder_, options_.model, opened_.device);
  if (!scheduler) return scheduler.error();
  scheduler_config_ = *scheduler;
  scheduler_config_.queue_tokens_max = options_.queue_tokens_max;
  scheduler_config_.queue_jobs_max = options_.queue_jobs_max;
  if (auto checked = check_config(EngineConfig{scheduler_config_}); !checked) return checked;
  const auto files = raise_file_limit(options_.connections_max);
  if (files && files->connections_max < options_.connections_max) {
    log_warn("fewer connections than asked for: the limit of open files is too low",
             {{"quern.files_max", files->files_max},
              {"quern.connections_max", files->connections_max},
              {"quern.flags", "--max-connections"}});
    options_.connections_max = static_cast<int32_t>(files->connections_max);
  }
  budget_.emplace(std::max(options_.buffered_bytes_max, least_requests_bytes(options_)));
  return {};
}

Result<void> Service::listen(std::vector<ApiKey> keys) {
  HttpServerConfig config = http_config(options_);
  ApiConfig api = api_config(options_, std::move(keys));
  show_limits(metrics_, config, api, scheduler_config_);
  api_ = std::make_unique<ApiServer>(
      std::move(api), std::vector{served_model(options_, folder_, opened_.device, embedder_)},
      [this] { return ready(); }, *budget_, metrics_);
  config.error_response = [this](int status, std::string_view message, std::string_view client) {
    return api_->transport_error(status, message, client);
  };
  server_ = std::make_unique<HttpServer>(config, *budget_, [this](HttpRequest request, Responder responder) {
    api_->handle(std::move(request), std::move(responder));
  });
  api_->watch(server_->counters());
  if (auto started = server_->start(); !started) return started;
  if (auto written = write_port_file(options_.port_file, server_->port()); !written) return written;
  log_info("listening", {{"server.address", options_.host}, {"server.port", int64_t{server_->port()}}});
  return {};
}

Result<void> Service::approve(const MemoryPlan& model) {
  MemoryPlan plan = model;
  plan.requests_bytes_min = least_requests_bytes(options_);
  plan.requests_bytes = options_.buffered_bytes_max;
  if (plan.requests_bytes == 0) {
    const int64_t model_bytes = opened_.device.is_gpu() ? 0 : plan.model_bytes();
    plan.requests_bytes =
        default_requests_bytes(machine_.memory_available_bytes - model_bytes, plan.requests_bytes_min);
    budget_->set_bytes_max(plan.requests_bytes);
  }
  planned_bytes_ = plan.total_bytes();
  log_memory(plan, machine_, opened_.device);
  return check_memory(plan, machine_, opened_.device);
}

Result<void> Service::load(const std::function<void()>& promise) {
  const int64_t begin_us = now_us();
  OpenDevice device{opened_.device, std::move(opened_.ops)};
  auto model = load_model(folder_, options_.model, std::move(device), scheduler_config_,
                          [this](const MemoryPlan& plan) { return approve(plan); });
  if (!model) return model.error();
  model_ = std::move(*model);
  engine_metrics_.emplace(metrics_, scheduler_config_, opened_.device);
  const EngineHooks hooks{[this](const StepReport& report) {
                            engine_metrics_->count(report);
                            if (report.is_lost) log_lost(opened_.device);
                          },
                          [](std::string_view what) {
                            log_error("the engine caught an exception", {{"error.message", what}});
                          }};
  engine_ = std::make_unique<Engine>(EngineConfig{scheduler_config_}, std::vector{model_->replica()}, hooks);
  engine_metrics_->watch(*engine_);
  const auto checked = check_model(*model_, *engine_, options_.model);
  if (!checked) return checked.error();
  if (checked->left_out > 0) {
    log_warn("known answers that are longer than --context-length were not compared",
             {{"quern.known_answers", static_cast<int64_t>(checked->left_out)}});
  }
  promise();
  embedder_.set(*engine_);
  log_info("ready", {{"quern.model", folder_.name},
                     {"quern.device", opened_.device.name},
                     {"quern.dtype", model_->dtype_name()},
                     {"quern.threads", int64_t{thread_count(options_.model, machine_)}},
                     {"quern.known_answers", static_cast<int64_t>(checked->compared)},
                     {"quern.load_ms", (now_us() - begin_us) / 1000}});
  return {};
}

std::string Service::banner() const {
  const int32_t threads = thread_count(options_.model, machine_);
  const std::string where = opened_.device.is_gpu() ? opened_.device.name + ", " + opened_.device.model
                                                    : std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  // Listening on every interface, it can be asked on this machine's own.
  const bool everywhere = options_.host == "0.0.0.0" || options_.host == "::";
  const std::string host = everywhere ? "127.0.0.1" : options_.host;
  const bool is_v6 = host.find(':') != std::string::npos;
  const std::string url = "http://" + (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port());
  std::string text = "\nquern " + std::string(kVersion) + " serves " + excerpt(folder_.name) + " at " + url;
  if (everywhere) text += ", and on every interface";
  text += "\n  vectors of width " + std::to_string(folder_.width()) + ", computed in " +
          std::string(model_->dtype_name()) + " on " + where + "; inputs of up to " +
          std::to_string(folder_.context_tokens_max) + " tokens; at most " + bytes_text(planned_bytes_) +
          " of memory\n";
  text += has_keys_ ? "  API key asked for\n" : "  no API key is set: whoever reaches the address may use it\n";
  text += "  try: curl " + url + "/v1/embeddings -H 'Content-Type: application/json'" +
          (has_keys_ ? " -H \"Authorization: Bearer $KEY\"" : "") + " -d '{\"input\": \"Hello\"}'\n\n";
  return text;
}

Result<void> Service::ready() const {
  if (draining_) return shutting_down();
  return embedder_.room(0, 0);
}

void Service::stop() {
  draining_ = true;
  log_info("draining", {{"quern.grace_s", int64_t{options_.drain_grace_s}}});
  std::this_thread::sleep_for(std::chrono::seconds(options_.drain_grace_s));
  server_->stop();
  engine_->drain();
  log_info("stopped");
}

}  // namespace quern
