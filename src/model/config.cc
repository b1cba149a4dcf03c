#include "model/config.h"

#include <simdjson.h>

#include <filesystem>
#include <memory>
#include <string_view>

namespace quern {
namespace {

using simdjson::dom::element;

/// A JSON file with the errors told by file and key.
class JsonFile {
 public:
  static Result<JsonFile> load(const std::string& path) {
    JsonFile file;
    file.path_ = path;
    file.parser_ = std::make_unique<simdjson::dom::parser>();
    try {
      if (const auto error = file.parser_->load(path).get(file.root_); error != simdjson::SUCCESS)
        return invalid_argument(path + ": " + simdjson::error_message(error));
    } catch (const std::exception& error) {
      return invalid_argument(path + ": " + error.what());
    }
    return file;
  }

  const element& root() const { return root_; }
  Error bad(const std::string& key, const std::string& expected) const {
    element value;
    const std::string found = root_[key].get(value) == simdjson::SUCCESS ? simdjson::minify(value) : "nothing";
    return invalid_argument(path_ + ": \"" + key + "\": expected " + expected + ", found " + found);
  }
  bool has(const std::string& key) const {
    element value;
    return root_[key].get(value) == simdjson::SUCCESS && !value.is_null();
  }
  /// A whole number within [low, high].
  Result<void> integer(const std::string& key, int64_t low, int64_t high, int64_t& out) const {
    if (root_[key].get(out) == simdjson::SUCCESS && out >= low && out <= high) return {};
    return bad(key, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  Result<void> positive(const std::string& key, double& out) const {
    if (root_[key].get(out) == simdjson::SUCCESS && out > 0 && out < 1e18) return {};
    return bad(key, "a number above 0");
  }

 private:
  std::string path_;
  std::unique_ptr<simdjson::dom::parser> parser_;
  element root_;
};

/// Everything in config.json that would change the forward pass into one we do not have.
Result<void> refuse_unimplemented(const JsonFile& json) {
  std::string_view text;
  if (json.root()["model_type"].get(text) != simdjson::SUCCESS || text != "qwen3")
    return json.bad("model_type", "\"qwen3\"");
  if (json.has("hidden_act") && (json.root()["hidden_act"].get(text) != simdjson::SUCCESS || text != "silu"))
    return json.bad("hidden_act", "\"silu\"");
  for (const char* key : {"rope_scaling", "quantization_config"}) {
    if (json.has(key)) return json.bad(key, "null (not implemented)");
  }
  for (const char* key : {"attention_bias", "mlp_bias", "use_sliding_window"}) {
    bool value = false;
    if (json.has(key) && (json.root()[key].get(value) != simdjson::SUCCESS || value))
      return json.bad(key, "false (not implemented)");
  }
  simdjson::dom::array types;
  if (json.has("layer_types")) {
    if (json.root()["layer_types"].get(types) != simdjson::SUCCESS) return json.bad("layer_types", "an array");
    for (element type : types) {
      if (type.get(text) != simdjson::SUCCESS || text != "full_attention")
        return json.bad("layer_types", "\"full_attention\" only");
    }
  }
  return {};
}

/// rope_theta, at the top or in rope_parameters (transformers 5).
Result<void> read_rope(const JsonFile& json, ModelConfig& config) {
  element parameters;
  if (!json.has("rope_parameters")) return json.positive("rope_theta", config.rope_theta);
  std::string_view type;
  if (json.root()["rope_parameters"].get(parameters) != simdjson::SUCCESS ||
      (parameters["rope_type"].get(type) == simdjson::SUCCESS && type != "default") ||
      parameters["rope_theta"].get(config.rope_theta) != simdjson::SUCCESS || !(config.rope_theta > 0))
    return json.bad("rope_parameters", "rope_type \"default\" and a rope_theta above 0");
  return {};
}

Result<void> read_config_json(const JsonFile& json, ModelConfig& config) {
  constexpr int64_t kMax = 1 << 24;
  double eps = 0;
  for (const auto& done :
       {refuse_unimplemented(json), read_rope(json, config), json.integer("hidden_size", 1, kMax, config.hidden_size),
        json.integer("num_hidden_layers", 1, 1024, config.layers),
        json.integer("num_attention_heads", 1, 4096, config.heads),
        json.integer("intermediate_size", 1, kMax, config.intermediate_size),
        json.integer("vocab_size", 1, kMax, config.vocab_size),
        json.integer("max_position_embeddings", 1, kMax, config.max_position_embeddings),
        json.positive("rms_norm_eps", eps)}) {
    if (!done) return done;
  }
  config.rms_norm_eps = static_cast<float>(eps);
  config.kv_heads = config.heads;
  if (json.has("num_key_value_heads")) {
    if (auto done = json.integer("num_key_value_heads", 1, config.heads, config.kv_heads); !done) return done;
  }
  if (config.heads % config.kv_heads != 0)
    return json.bad("num_key_value_heads", "a divisor of num_attention_heads (" + std::to_string(config.heads) + ")");
  config.head_dim = config.hidden_size / config.heads;
  if (json.has("head_dim")) {
    if (auto done = json.integer("head_dim", 2, 1024, config.head_dim); !done) return done;
  }
  if (config.head_dim < 2 || config.head_dim % 2 != 0) return json.bad("head_dim", "an even number");
  int64_t eos = 0;
  if (json.root()["eos_token_id"].get(eos) == simdjson::SUCCESS && eos >= 0 && eos < config.vocab_size)
    config.eos_token_id = static_cast<int32_t>(eos);
  return {};
}

Result<void> check_pooling(const std::string& model_dir) {
  const std::string path = model_dir + "/1_Pooling/config.json";
  if (!std::filesystem::exists(path)) return {};
  auto json = JsonFile::load(path);
  if (!json) return json.error();
  simdjson::dom::object members;
  if (json->root().get(members) != simdjson::SUCCESS) return invalid_argument(path + ": expected an object");
  for (auto [key, value] : members) {
    bool on = false;
    if (key.substr(0, 13) != "pooling_mode_" || value.get(on) != simdjson::SUCCESS) continue;
    if (on != (key == "pooling_mode_lasttoken"))
      return json->bad(std::string(key), on ? "false (only the last token is pooled)" : "true");
  }
  return {};
}

Result<void> check_modules(const std::string& model_dir) {
  const std::string path = model_dir + "/modules.json";
  if (!std::filesystem::exists(path)) return {};
  auto json = JsonFile::load(path);
  if (!json) return json.error();
  simdjson::dom::array modules;
  if (json->root().get(modules) != simdjson::SUCCESS) return invalid_argument(path + ": expected an array");
  for (element module : modules) {
    std::string_view type;
    if (module["type"].get(type) != simdjson::SUCCESS)
      return invalid_argument(path + ": expected modules with a \"type\", found one without");
    const std::string_view name = type.substr(type.rfind('.') + 1);
    if (name != "Transformer" && name != "Pooling" && name != "Normalize")
      return invalid_argument(path + ": expected Transformer, Pooling and Normalize, found " + std::string(type));
  }
  return {};
}

Result<void> read_prompts(const std::string& model_dir, ModelConfig& config) {
  const std::string path = model_dir + "/config_sentence_transformers.json";
  if (!std::filesystem::exists(path)) return {};
  auto json = JsonFile::load(path);
  if (!json) return json.error();
  simdjson::dom::object prompts;
  if (json->root()["prompts"].get(prompts) == simdjson::SUCCESS) {
    for (auto [name, value] : prompts) {
      std::string_view text;
      if (value.get(text) != simdjson::SUCCESS) return json->bad("prompts", "strings");
      config.prompts[std::string(name)] = text;
    }
  }
  std::string_view name;
  if (json->root()["default_prompt_name"].get(name) == simdjson::SUCCESS) config.default_prompt_name = name;
  return {};
}

}  // namespace

Result<ModelConfig> read_model_config(const std::string& model_dir) {
  auto json = JsonFile::load(model_dir + "/config.json");
  if (!json) return json.error();
  ModelConfig config;
  if (auto done = read_config_json(*json, config); !done) return done.error();
  if (auto done = check_modules(model_dir); !done) return done.error();
  if (auto done = check_pooling(model_dir); !done) return done.error();
  if (auto done = read_prompts(model_dir, config); !done) return done.error();
  return config;
}

}  // namespace quern
