// ApiConfig: what the API serves and every limit it holds clients to. TextEncoder and EngineApi: the two things it
// calls.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/job.h"

namespace quern {

constexpr std::string_view kDefaultTask = "Given a web search query, retrieve relevant passages that answer the query";

struct ApiKey {
  std::string key;
  std::string tenant;  // label for fair shares, logs and limits
};

struct ApiConfig {
  std::vector<std::string> model_names;          // served names; the first is the default; never empty
  std::string model_revision;                    // for /info, may be empty
  int64_t created_s = 0;                         // unix time told by /v1/models
  int32_t width = 0;                             // D: of a full Output
  int32_t context_tokens_max = 0;                // EOS included
  int32_t vocab_tokens = 0;                      // token ids are in [0, vocab_tokens)
  std::optional<int32_t> eos_token_id = 151643;  // ends each input; none where the model has none
  std::map<std::string, std::string> prompts;    // prompt_name -> text put before the input
  std::string default_prompt;                    // in front of texts of requests that name no prompt

  int32_t inputs_max = 2048;
  int32_t json_depth_max = 32;
  int32_t dimensions_min = 32;
  int32_t priority_max = 100;      // and its negative is the least
  int64_t timeout_ms_default = 0;  // 0: none
  int64_t timeout_ms_max = 24LL * 3600 * 1000;
  int64_t inline_body_bytes_max = 16 * 1024;       // larger bodies are parsed and tokenized by the worker pool
  int64_t inline_response_bytes_max = 256 * 1024;  // larger answers are written by the worker pool
  int pool_threads = 2;
  int pool_tasks_max = 1024;  // large bodies waiting for a pool thread; above it 429

  std::vector<ApiKey> api_keys;  // empty: open to all
  std::string cors_origin;       // empty: off; "*" or an origin
  std::string version = "unknown";
  std::string commit = "unknown";
};

/// Text to token ids, special tokens (EOS) added, nothing cut. Any thread.
using TextEncoder = std::function<Result<std::vector<int32_t>>(std::string_view)>;

/// The engine as the API sees it. All are safe from any thread.
struct EngineApi {
  /// Takes all the Jobs or none; see Engine::submit.
  std::function<Result<std::vector<uint64_t>>(std::vector<Job>)> submit;
  std::function<void(std::span<const uint64_t>)> cancel;
  /// Success when requests can be served; otherwise why not.
  std::function<Result<void>()> ready;
};

/// The prompts of Qwen3-Embedding: "query" with the default task, "document" without any.
std::map<std::string, std::string> default_prompts();

/// "Instruct: {task}\nQuery:" : what stands before a query, to the byte.
std::string instruction_prompt(std::string_view task);

}  // namespace quern
