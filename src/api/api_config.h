// ApiConfig: every limit that the API holds clients to, and who may use it. What is served is ServedModel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/truncation.h"

namespace quern {

struct ApiKey {
  std::string key;
  std::string name;          // label for logs
  int32_t priority_max = 0;  // what its requests' `priority` may amount to; more counts as this
};

struct ApiConfig {
  int32_t inputs_max = 2048;
  int32_t json_depth_max = 32;
  int32_t json_fields_max = 256;              // of the request body itself
  int64_t instruction_bytes_max = 64 * 1024;  // it is tokenized once for each input
  int32_t dimensions_min = 32;
  int32_t priority_max = 100;      // and its negative is the least; where there are keys, theirs count
  int64_t timeout_ms_default = 0;  // of requests that name none; 0: none
  int64_t timeout_ms_max = 24LL * 3600 * 1000;
  bool refuse_token_ids = false;
  int64_t body_bytes_max = 64 * 1024 * 1024;          // decoded; 413
  int64_t control_bytes_max = 4 * 1024 * 1024;        // /metrics and its like hold before they count as requests do
  Truncation truncation_default = Truncation::kNone;  // of requests that do not say
  int64_t inline_body_bytes_max = 16 * 1024;          // larger bodies are parsed and tokenized by the worker pool
  int64_t inline_response_bytes_max = 256 * 1024;     // larger answers are written by the worker pool
  int pool_threads = 2;
  int pool_tasks_max = 1024;  // large bodies waiting for a pool thread; above it 429

  std::vector<ApiKey> api_keys;           // empty: open to all
  std::vector<std::string> cors_origins;  // of parse_cors_origins(); empty: off
  std::string version = "unknown";
  std::string commit = "unknown";
};

}  // namespace quern
