// What a person chooses: which model, how it is computed, how it is served. Plain values; cli/options binds flags to
// them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace quern {

/// Where flags were said that do not stand on the command line by their own names, for messages: "--port" ->
/// "quern.toml:3", "QUERN_PORT" or another server's "-p".
using FlagOrigins = std::map<std::string, std::string>;

/// The smallest step: --max-batch-tokens and --max-query-batch-tokens begin here.
inline constexpr int32_t kBatchTokensMin = 16;

/// Which model, and how it is computed.
struct ModelOptions {
  std::optional<std::string> model_path;    // a folder, or ORG/NAME[@REVISION] in the local Hugging Face cache
  std::string revision;                     // of ORG/NAME
  std::string device = "auto";              // auto, cpu, cuda, cuda:N
  std::string dtype = "auto";               // auto, f32, bf16, f16; half, float16: f16 on a GPU
  std::string quantization = "none";        // none, fp8
  int32_t threads = 0;                      // 0: one per core
  int32_t context_tokens_max = 0;           // 0: the model's own
  std::optional<int32_t> batch_tokens_max;  // none: what suits the device
  std::optional<int32_t> batch_spans_max;
  std::optional<int32_t> query_batch_tokens_max;
  int32_t spare_kv_tokens = 0;  // 0: an eighth of the context
  bool skip_check = false;      // do not compare with known_answers.json
  bool append_eos = false;      // where tokenizer.json appends no end token
  FlagOrigins origins;
};

struct ServeOptions {
  ModelOptions model;
  std::vector<std::string> served_model_names;
  bool refuse_token_ids = false;
  bool auto_truncate = false;  // where a request does not say
  std::string host = "127.0.0.1";
  uint16_t port = 30000;
  std::string port_file;
  std::vector<std::string> api_keys;
  std::string api_key_file;
  std::vector<std::string> cors_origins;
  std::string log_level = "info";
  int32_t http_threads = 1;
  int32_t connections_max = 4096;
  int64_t body_bytes_max = 64 << 20;
  int64_t buffered_bytes_max = 0;  // 0: by the memory there is
  int32_t header_bytes_max = 16 << 10;
  int32_t inputs_max = 2048;
  int64_t queue_tokens_max = 1'000'000;
  int32_t queue_jobs_max = 100'000;
  int32_t request_timeout_ms = 0;  // 0: none
  int32_t idle_timeout_s = 75;
  int32_t read_timeout_s = 30;
  int32_t drain_grace_s = 0;
  int32_t drain_timeout_s = 60;
  std::string launch_notice;  // what of the command line was another server's; told at start
};

}  // namespace quern
