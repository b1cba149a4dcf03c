#include "model/config.h"

#include <algorithm>
#include <string_view>

#include "model/config_fields.h"
#include "model/json_file.h"

namespace quern {
namespace {

using simdjson::dom::element;

// What the kernels and the memory plan are made for; the largest Qwen3-Embedding has 32 heads of 128.
constexpr int64_t kHeadsMax = 64;
constexpr int64_t kHeadDimMax = 1024;
constexpr int64_t kWidthMax = 1 << 20;
constexpr int64_t kVocabMax = 1 << 24;
constexpr int64_t kPositionsMax = 1 << 20;
constexpr int64_t kLayersMax = 1024;

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> allowed) {
  return std::find(allowed.begin(), allowed.end(), text) != allowed.end();
}

Result<void> read_architectures(const JsonView& json, ModelConfig& config) {
  if (!json.has("architectures")) return {};
  const std::string expected = "[\"Qwen3Model\"] or [\"Qwen3ForCausalLM\"]";
  simdjson::dom::array names;
  if (json.find("architectures")->get(names) != simdjson::SUCCESS) return json.bad("architectures", expected);
  bool is_first = true;
  for (element name : names) {
    std::string_view text;
    if (name.get(text) != simdjson::SUCCESS || !is_one_of(text, {"Qwen3Model", "Qwen3ForCausalLM"})) {
      const bool scores = text.find("ForSequenceClassification") != std::string_view::npos;
      return json.bad("architectures", expected + (scores ? " (a cross-encoder gives scores, not vectors)" : ""));
    }
    if (std::exchange(is_first, false)) config.is_causal_lm = text == "Qwen3ForCausalLM";
  }
  return {};
}

/// Fields with one value that we implement, where they are given at all.
Result<void> refuse_unimplemented(const JsonView& json) {
  if (json.text("model_type") != "qwen3") return json.bad("model_type", "\"qwen3\"");
  if (json.find("hidden_act") && !is_one_of(json.text("hidden_act").value_or(""), {"silu", "swish"}))
    return json.bad("hidden_act", "\"silu\"");
  // Even null makes transformers see in both directions.
  if (json.find("is_causal") && json.boolean("is_causal") != true)
    return json.bad("is_causal", "true (attention in both directions is not implemented)");
  for (const char* key : {"use_bidirectional_attention", "attention_bias", "mlp_bias", "is_encoder_decoder",
                          "add_cross_attention", "pruned_heads", "quantization_config", "auto_map"}) {
    const auto value = json.find(key);
    if (value && !is_off(*value)) return json.bad(key, "null, false or nothing (not implemented)");
  }
  if (json.has("sentence_transformers"))
    return json.bad("sentence_transformers", "nothing (this is a cross-encoder: it gives scores, not vectors)");
  return {};
}

/// Sliding windows: allowed where no layer has one, or where it is as wide as the longest input.
Result<void> refuse_sliding_window(const JsonView& json, const ModelConfig& config) {
  constexpr int64_t kDefaultWindow = 4096, kDefaultFullLayers = 28;  // Qwen3Config
  const auto use_value = json.find("use_sliding_window");
  const bool use = use_value && !is_off(*use_value);
  if (use && json.boolean("use_sliding_window") != true) return json.bad("use_sliding_window", "true or false");
  int64_t window = kDefaultWindow, full_layers = kDefaultFullLayers;
  if (json.has("max_window_layers")) {
    if (auto done = json.integer("max_window_layers", 0, kLayersMax, full_layers); !done) return done;
  }
  const bool has_window = use && (json.has("sliding_window") || !json.find("sliding_window"));
  if (has_window) {
    if (auto done = json.integer("sliding_window", 0, INT64_MAX, window); !done) return done;
  }
  const bool changes = has_window && window < config.max_position_embeddings;
  if (!json.has("layer_types")) {
    if (changes && full_layers < config.layers)
      return json.bad("use_sliding_window", "false, or a window as wide as max_position_embeddings (not implemented)");
    return {};
  }
  simdjson::dom::array types;
  if (json.find("layer_types")->get(types) != simdjson::SUCCESS) return json.bad("layer_types", "an array");
  for (element type : types) {
    std::string_view text;
    const bool known = type.get(text) == simdjson::SUCCESS && is_one_of(text, {"full_attention", "sliding_attention"});
    if (!known || (text == "sliding_attention" && (!has_window || changes)))
      return json.bad("layer_types", "\"full_attention\" only");
  }
  if (static_cast<int64_t>(types.size()) < config.layers)
    return json.bad("layer_types", std::to_string(config.layers) + " types, one for each layer");
  return {};
}

/// Scaling that scales nothing is none: type "default", a factor of 1, or "dynamic", which begins beyond
/// max_position_embeddings tokens, the longest input.
Result<void> refuse_scaling(const JsonView& rope, const ModelConfig& config) {
  const char* type_key = rope.find("rope_type") ? "rope_type" : "type";
  const std::string type(rope.find(type_key) ? rope.text(type_key).value_or("") : "default");
  for (const auto& [key, value] : rope.members()) {
    if (value.is_object()) return rope.bad(key, "no object: one rope for all layers");
  }
  if (type == "default") return {};  // takes nothing but rope_theta
  if (!is_one_of(type, {"linear", "dynamic", "yarn", "llama3"}))
    return rope.bad(type_key, "\"default\", or a scaling with factor 1 (not implemented)");
  const auto factor = rope.number("factor");
  if (!factor || !(*factor >= 1) || (type != "dynamic" && *factor != 1.0))
    return rope.bad("factor", type == "dynamic" ? "a number from 1" : "1 (scaling is not implemented)");
  if (rope.has("attention_factor") && rope.number("attention_factor") != 1.0)
    return rope.bad("attention_factor", "1 (not implemented)");
  if (rope.has("original_max_position_embeddings") &&
      rope.number("original_max_position_embeddings") != static_cast<double>(config.max_position_embeddings))
    return rope.bad("original_max_position_embeddings", "max_position_embeddings (not implemented)");
  for (const auto& [key, value] : rope.members()) {
    if (!is_one_of(key, {"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "attention_factor",
                         "original_max_position_embeddings", "beta_fast", "beta_slow", "truncate", "mscale",
                         "mscale_all_dim", "low_freq_factor", "high_freq_factor"}) &&
        !is_off(value))
      return rope.bad(key, "nothing: this field is not implemented");
  }
  return {};
}

/// RoPE in the spellings of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters), with its precedence.
Result<void> read_rope(const JsonView& json, ModelConfig& config) {
  std::string where;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto value = json.find(key);
    if (!value || is_off(*value)) continue;
    if (!value->is_object()) return json.bad(key, "an object or null");
    if (where.empty()) where = key;
  }
  const auto rope = where.empty() ? std::nullopt : json.child(where);
  const bool inside = rope && rope->find("rope_theta");
  const JsonView& source = inside ? *rope : json;
  if (source.find("rope_theta")) {
    const auto theta = source.number("rope_theta");
    if (!theta || !(*theta > 0) || *theta > 1e18) return source.bad("rope_theta", "a number above 0");
    config.rope_theta = *theta;
  }
  for (const JsonView* view : {&json, rope ? &*rope : nullptr}) {
    if (view != nullptr && view->has("partial_rotary_factor") && view->number("partial_rotary_factor") != 1.0)
      return view->bad("partial_rotary_factor", "1 (not implemented)");
  }
  if (!rope) return {};

  return refuse_scaling(*rope, config);
}

Result<void> read_eos(const JsonView& json, ModelConfig& config) {
  auto value = json.find("eos_token_id");
  if (!value || value->is_null()) return {};
  simdjson::dom::array ids;
  if (value->get(ids) == simdjson::SUCCESS) {
    if (ids.size() == 0) return {};
    value = ids.at(0).value_unsafe();
  }
  int64_t id = 0;
  if (value->get(id) != simdjson::SUCCESS) return json.bad("eos_token_id", "a token id, a list of them, or null");
  if (id >= 0 && id < config.vocab_size) config.eos_token_id = static_cast<int32_t>(id);
  return {};
}

Result<void> read_shape(const JsonView& json, ModelConfig& config) {
  // Qwen3Config's defaults.
  config.vocab_size = 151936;
  config.hidden_size = 4096;
  config.intermediate_size = 22016;
  config.layers = config.heads = config.kv_heads = 32;
  config.head_dim = 128;
  config.max_position_embeddings = 32768;
  for (const auto& done : {json.integer("hidden_size", 1, kWidthMax, config.hidden_size),
                           json.integer("num_hidden_layers", 1, kLayersMax, config.layers),
                           json.integer("num_attention_heads", 1, kHeadsMax, config.heads),
                           json.integer("intermediate_size", 1, kWidthMax, config.intermediate_size),
                           json.integer("vocab_size", 1, kVocabMax, config.vocab_size),
                           json.integer("head_dim", 2, kHeadDimMax, config.head_dim),
                           json.integer("max_position_embeddings", 1, kPositionsMax, config.max_position_embeddings)}) {
    if (!done) return done;
  }
  if (json.find("num_key_value_heads") && !json.has("num_key_value_heads")) {
    config.kv_heads = config.heads;  // null
  } else if (auto done = json.integer("num_key_value_heads", 1, kHeadsMax, config.kv_heads); !done) {
    return done;
  }
  if (config.heads % config.kv_heads != 0) {
    return json.bad("num_key_value_heads", "a divisor of num_attention_heads (" + std::to_string(config.heads) +
                                               "), or null; " + std::to_string(config.kv_heads) +
                                               " where it is not given");
  }
  if (config.head_dim % 2 != 0) return json.bad("head_dim", "an even number");
  if (json.find("rms_norm_eps")) {
    const auto eps = json.number("rms_norm_eps");
    if (!eps || !(*eps >= 0) || *eps > 1) return json.bad("rms_norm_eps", "a number from 0 to 1");
    config.rms_norm_eps = static_cast<float>(*eps);
  }
  return {};
}

}  // namespace

Result<ModelConfig> read_model_config(const std::string& model_dir) {
  auto file = JsonFile::load(model_dir, "config.json");
  if (!file) return file.error();
  const JsonView json = file->root();
  ModelConfig config;
  if (auto done = refuse_unimplemented(json); !done) return done.error();
  if (auto done = read_architectures(json, config); !done) return done.error();
  if (auto done = read_shape(json, config); !done) return done.error();
  if (auto done = read_rope(json, config); !done) return done.error();
  if (auto done = refuse_sliding_window(json, config); !done) return done.error();
  if (auto done = read_eos(json, config); !done) return done.error();
  if (json.has("tokenizer_class")) {
    const auto name = json.text("tokenizer_class");
    if (!name) return json.bad("tokenizer_class", "a name");
    config.tokenizer_class = *name;
  }
  if (auto done = refuse_unknown(json, kConfigFields); !done) return done.error();
  return config;
}

}  // namespace quern
