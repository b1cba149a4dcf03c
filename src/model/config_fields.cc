#include "model/config_fields.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace quern {
namespace {

constexpr std::string_view kFields[] = {
    // read in config.cc
    "model_type", "architectures", "hidden_act", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "intermediate_size", "vocab_size", "max_position_embeddings", "rms_norm_eps",
    "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "attention_bias", "mlp_bias", "is_causal",
    "use_bidirectional_attention", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types",
    "quantization_config", "pruned_heads", "auto_map", "is_encoder_decoder", "add_cross_attention", "eos_token_id",
    "sentence_transformers",
    // training, storage and how to run: they change no vector
    "attention_dropout", "hidden_dropout", "classifier_dropout", "initializer_range", "tie_word_embeddings",
    "tie_encoder_decoder", "torch_dtype", "dtype", "use_cache", "cache_implementation", "attn_implementation",
    "_attn_implementation", "_attn_implementation_internal", "_attn_implementation_autoset", "experts_implementation",
    "_experts_implementation", "output_attentions", "output_hidden_states", "return_dict", "torchscript",
    "chunk_size_feed_forward", "cross_attention_hidden_size", "is_decoder", "pretraining_tp", "gradient_checkpointing",
    // heads, which an embedding model does not use
    "id2label", "label2id", "num_labels", "problem_type", "classifier_bias"};

/// Parts of names that speak of the computation.
constexpr std::string_view kWords[] = {
    "attention",  "attn",    "rope",   "rotary",  "position",      "norm",   "bias",   "scal",
    "multiplier", "softcap", "window", "causal",  "mask",          "expert", "moe",    "quant",
    "head",       "layer",   "pool",   "embed",   "residual",      "hidden", "mlp",    "ffn",
    "activation", "gate",    "lora",   "adapter", "bidirectional", "logit",  "router", "sink"};

bool is_neutral(simdjson::dom::element value) {
  double number = 0;
  return is_off(value) || (value.get(number) == simdjson::SUCCESS && number == 1);
}

}  // namespace

const std::span<const std::string_view> kConfigFields = kFields;

bool speaks_of_computation(std::string_view key) {
  std::string lower(key);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::any_of(std::begin(kWords), std::end(kWords),
                     [&](std::string_view word) { return lower.find(word) != std::string::npos; });
}

Result<void> refuse_unknown(const JsonView& json, std::span<const std::string_view> known) {
  for (const auto& [key, value] : json.members()) {
    if (std::find(known.begin(), known.end(), key) != known.end() || !speaks_of_computation(key)) continue;
    if (!is_neutral(value)) return json.bad(key, "nothing: this field is not implemented");
  }
  return {};
}

}  // namespace quern
