// ModelConfig: what the files of a model folder say about the model. Plain values; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"

namespace quern {

struct ModelConfig {
  // config.json
  int64_t hidden_size = 0;              // D
  int64_t layers = 0;                   // L
  int64_t heads = 0;                    // H
  int64_t kv_heads = 0;                 // K, divides H
  int64_t head_dim = 0;                 // d, even
  int64_t intermediate_size = 0;        // F
  int64_t vocab_size = 0;               // V
  int64_t max_position_embeddings = 0;  // longest input in tokens
  float rms_norm_eps = 1e-6f;
  double rope_theta = 1e6;
  std::optional<int32_t> eos_token_id;

  // config_sentence_transformers.json, where present
  std::map<std::string, std::string> prompts;      // name ("query", "document") -> prefix
  std::optional<std::string> default_prompt_name;  // as written there
};

/// Reads config.json, modules.json, 1_Pooling/config.json and config_sentence_transformers.json of `model_dir`; all but
/// the first may be missing. Refuses by name whatever the forward pass does not implement.
Result<ModelConfig> read_model_config(const std::string& model_dir);

}  // namespace quern
