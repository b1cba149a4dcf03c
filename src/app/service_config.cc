#include "app/service_config.h"

#include <ctime>
#include <string>

#include "base/version.h"
#include "http/body_decoding.h"

namespace quern {
namespace {

constexpr int64_t kMsPerSecond = 1000;

}  // namespace

int64_t least_requests_bytes(const ServeOptions& options) {
  return least_budget_bytes(options.body_bytes_max, options.header_bytes_max);
}

Result<void> check_limits(const ServeOptions& options) {
  const int64_t least = least_requests_bytes(options);
  if (options.buffered_bytes_max == 0 || options.buffered_bytes_max >= least) return {};
  return invalid_argument("is " + std::to_string(options.buffered_bytes_max) + "; a body of --max-body-bytes, " +
                              std::to_string(options.body_bytes_max) + ", needs at least " + std::to_string(least) +
                              " while it is read",
                          "--max-buffered-bytes");
}

ServedModel served_model(const ServeOptions& options, const ModelFolder& folder, const Device& device,
                         Embedder& embedder) {
  ServedModel served;
  served.names = options.served_model_names;
  // "*" alone stands for every name, and the model still has its own.
  if (served.names.empty() || served.names.front() == kAnyModelName)
    served.names.insert(served.names.begin(), folder.name);
  served.created_s = static_cast<int64_t>(std::time(nullptr));
  served.device = device.name + " (" + device.model + ")";
  served.width = folder.width();
  served.context_tokens_max = folder.context_tokens_max;
  served.vocab_tokens = folder.vocab_rows();
  served.eos_token_id = folder.tokenizer->eos_id();
  served.prompts = folder.prompts;
  served.default_prompt = folder.default_prompt;
  served.embedder = &embedder;
  served.encode = [&tokenizer = *folder.tokenizer](std::string_view prompt, std::string_view text, int32_t tokens_max,
                                                   Truncation side) {
    return tokenizer.encode(prompt, text, {.tokens_max = static_cast<size_t>(tokens_max), .truncation = side});
  };
  return served;
}

ApiConfig api_config(const ServeOptions& options, std::vector<ApiKey> keys) {
  ApiConfig config;
  config.inputs_max = options.inputs_max;
  config.timeout_ms_default = options.request_timeout_ms;
  config.body_bytes_max = options.body_bytes_max;
  config.refuse_token_ids = options.refuse_token_ids;
  config.truncation_default = options.auto_truncate ? Truncation::kRight : Truncation::kNone;
  config.api_keys = std::move(keys);
  config.cors_origins = options.cors_origins;
  config.version = kVersion;
  config.commit = kCommit;
  return config;
}

HttpServerConfig http_config(const ServeOptions& options) {
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
  return config;
}

void show_limits(Metrics& metrics, const HttpServerConfig& http, const ApiConfig& api,
                 const SchedulerConfig& scheduler) {
  const std::pair<const char*, int64_t> limits[] = {
      {"connections_max", http.connections_max},
      {"pipeline_requests_max", http.pipeline_requests_max},
      {"header_bytes_max", http.header_bytes_max},
      {"body_bytes_max", http.body_bytes_max},
      {"header_timeout_ms", http.header_timeout_ms},
      {"body_timeout_ms", http.body_timeout_ms},
      {"idle_timeout_ms", http.idle_timeout_ms},
      {"write_timeout_ms", http.write_timeout_ms},
      {"write_bytes_per_s_min", http.write_bytes_per_s_min},
      {"send_buffer_bytes", http.send_buffer_bytes},
      {"half_close_grace_ms", http.half_close_grace_ms},
      {"linger_timeout_ms", http.linger_timeout_ms},
      {"drain_timeout_ms", http.drain_timeout_ms},
      {"drain_idle_grace_ms", http.drain_idle_grace_ms},
      {"listen_backlog", http.listen_backlog},
      {"inputs_max", api.inputs_max},
      {"json_depth_max", api.json_depth_max},
      {"json_fields_max", api.json_fields_max},
      {"instruction_bytes_max", api.instruction_bytes_max},
      {"timeout_ms_default", api.timeout_ms_default},
      {"timeout_ms_max", api.timeout_ms_max},
      {"control_bytes_max", api.control_bytes_max},
      {"pool_tasks_max", api.pool_tasks_max},
      {"batch_tokens_max", scheduler.batch_tokens_max},
      {"batch_spans_max", scheduler.batch_spans_max},
      {"brief_batch_tokens_max", scheduler.brief_batch_tokens_max},
      {"batches_in_flight_max", scheduler.batches_in_flight_max},
      {"queue_tokens_max", scheduler.queue_tokens_max},
      {"queue_jobs_max", scheduler.queue_jobs_max},
      {"context_tokens_max", scheduler.context_tokens_max},
      {"skipped_jobs_max", scheduler.skipped_jobs_max},
      {"long_spans_max", scheduler.long_spans_max},
      {"kv_blocks", scheduler.total_blocks()},
  };
  for (const auto& [field, value] : limits) {
    metrics.gauge("quern_limit", "Configured limits, by field", {{"field", field}}).Set(static_cast<double>(value));
  }
}

}  // namespace quern
