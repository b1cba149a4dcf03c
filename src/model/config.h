// ModelConfig: what config.json says about the forward pass. Plain values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace quern {

struct ModelConfig {
  int64_t hidden_size = 0;              // D
  int64_t layers = 0;                   // L
  int64_t heads = 0;                    // H
  int64_t kv_heads = 0;                 // K, divides H
  int64_t head_dim = 0;                 // d, even
  int64_t intermediate_size = 0;        // F
  int64_t vocab_size = 0;               // V
  int64_t max_position_embeddings = 0;  // longest input in tokens
  float rms_norm_eps = 1e-6f;
  double rope_theta = 1e4;
  std::optional<int32_t> eos_token_id;  // the first one, where it is a list
  /// "...ForCausalLM" is first among the architectures: without a modules.json, sentence-transformers then pools the
  /// last token, else the mean.
  bool is_causal_lm = false;
  std::optional<std::string> tokenizer_class;  // counts where tokenizer_config.json names none
};

/// Reads config.json of `model_dir`, with transformers' defaults for what it leaves out. Refuses by name whatever would
/// make transformers compute something else than our forward pass does; what is known to change nothing is passed over.
Result<ModelConfig> read_model_config(const std::string& model_dir);

}  // namespace quern
