#include "model/sentence_transformers.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "base/excerpt.h"
#include "model/json_file.h"

namespace quern {
namespace {

using simdjson::dom::element;

enum class Kind { kTransformer, kPooling, kNormalize, kDropout };

/// Where sentence-transformers 2 to 6 keep or kept the modules that we have.
struct ModuleType {
  std::string_view name;
  Kind kind;
};
constexpr ModuleType kModuleTypes[] = {
    {"sentence_transformers.models.Transformer", Kind::kTransformer},
    {"sentence_transformers.models.Transformer.Transformer", Kind::kTransformer},
    {"sentence_transformers.base.modules.Transformer", Kind::kTransformer},
    {"sentence_transformers.base.modules.transformer.Transformer", Kind::kTransformer},
    {"sentence_transformers.sentence_transformer.modules.Transformer", Kind::kTransformer},
    {"sentence_transformers.models.Pooling", Kind::kPooling},
    {"sentence_transformers.models.Pooling.Pooling", Kind::kPooling},
    {"sentence_transformers.sentence_transformer.modules.Pooling", Kind::kPooling},
    {"sentence_transformers.sentence_transformer.modules.pooling.Pooling", Kind::kPooling},
    {"sentence_transformers.models.Normalize", Kind::kNormalize},
    {"sentence_transformers.models.Normalize.Normalize", Kind::kNormalize},
    {"sentence_transformers.base.modules.Normalize", Kind::kNormalize},
    {"sentence_transformers.base.modules.normalize.Normalize", Kind::kNormalize},
    {"sentence_transformers.sentence_transformer.modules.Normalize", Kind::kNormalize},
    {"sentence_transformers.sentence_transformer.modules.normalize.Normalize", Kind::kNormalize},
    {"sentence_transformers.models.Dropout", Kind::kDropout},
    {"sentence_transformers.models.Dropout.Dropout", Kind::kDropout},
    {"sentence_transformers.sentence_transformer.modules.Dropout", Kind::kDropout},
    {"sentence_transformers.sentence_transformer.modules.dropout.Dropout", Kind::kDropout},
};

struct Module {
  Kind kind;
  std::string dir;
};

Result<void> check_pooling(const std::string& dir) {
  auto file = JsonFile::load(dir, "config.json");
  if (!file) return file.error();
  const JsonView json = file->root();
  const std::string only = "\"lasttoken\" (no other pooling is implemented)";
  bool has_mode = false;
  if (const auto mode = json.find("pooling_mode"); mode) {  // sentence-transformers 5.4 and later; wins over the flags
    has_mode = true;
    simdjson::dom::array modes;
    const bool is_list = mode->get(modes) == simdjson::SUCCESS && modes.size() == 1;
    const element one = is_list ? modes.at(0).value_unsafe() : *mode;
    std::string_view name;
    if (one.get(name) != simdjson::SUCCESS || name != "lasttoken") return json.bad("pooling_mode", only);
  }
  bool last_token = has_mode;
  for (const auto& [key, value] : json.members()) {
    if (key.compare(0, 13, "pooling_mode_") == 0) {
      bool on = false;
      if (value.get(on) != simdjson::SUCCESS) return json.bad(key, "true or false");
      if (has_mode) continue;
      if (on && key != "pooling_mode_lasttoken") return json.bad(key, "false (only the last token is pooled)");
      last_token = last_token || on;
    } else if (key != "pooling_mode" && key != "embedding_dimension" && key != "word_embedding_dimension" &&
               key != "include_prompt") {
      return json.bad(key, "nothing: a Pooling module has no such field");
    }
  }
  // Without any flag sentence-transformers pools the mean.
  return last_token ? Result<void>() : json.bad("pooling_mode_lasttoken", "true, or \"pooling_mode\": \"lasttoken\"");
}

Result<void> check_normalize(const std::string& dir) {
  auto file = JsonFile::load_if_present(dir, "config.json");
  if (!file) return file.error();
  if (!*file) return {};
  const JsonView json = (*file)->root();
  for (const char* key : {"module_input_name", "module_output_name"}) {
    if (json.has(key) && json.text(key) != "sentence_embedding") return json.bad(key, "\"sentence_embedding\"");
  }
  return {};
}

Result<Module> read_module(const std::string& path, const std::string& model_dir, element value, size_t index) {
  const JsonView json(&path, "[" + std::to_string(index) + "].", value);
  const auto type = json.text("type");
  const auto* known = std::find_if(std::begin(kModuleTypes), std::end(kModuleTypes),
                                   [&](const ModuleType& candidate) { return candidate.name == type; });
  if (known == std::end(kModuleTypes)) {
    return json.bad("type",
                    "sentence_transformers.models.Transformer, .Pooling, .Normalize or .Dropout (no other module is "
                    "implemented)");
  }
  const auto sub_folder = json.text("path");
  if (!sub_folder) return json.bad("path", "the folder of the module, \"\" for the model's own");
  if (sub_folder->substr(0, 1) == "/" || ("/" + std::string(*sub_folder) + "/").find("/../") != std::string::npos)
    return json.bad("path", "a folder within the model's");
  if (!json.text("name")) return json.bad("name", "the name of the module");
  return Module{known->kind, sub_folder->empty() ? model_dir : model_dir + "/" + std::string(*sub_folder)};
}

Result<void> read_modules(const std::string& model_dir, SentenceTransformers& out) {
  auto file = JsonFile::load_if_present(model_dir, "modules.json");
  if (!file) return file.error();
  if (!*file) return {};
  const std::string& path = (*file)->path();
  const auto array = (*file)->root_array();
  if (!array) return invalid_argument(path + ": expected an array of modules, found an object");
  out.has_modules = true;
  std::vector<Kind> kinds;
  bool pools = false;
  std::set<std::string> names;
  for (element value : *array) {
    auto module = read_module(path, model_dir, value, kinds.size());
    if (!module) return module.error();
    const JsonView json(&path, "[" + std::to_string(kinds.size()) + "].", value);
    if (!names.emplace(*json.text("name")).second) return json.bad("name", "a name that no other module has");
    const bool is_first = kinds.empty();
    if (is_first != (module->kind == Kind::kTransformer)) return json.bad("type", "one Transformer, the first module");
    if (module->kind == Kind::kDropout && !pools) return json.bad("type", "a Pooling module before Dropout");
    kinds.push_back(module->kind);
    Result<void> checked;
    if (module->kind == Kind::kTransformer) out.transformer_dir = module->dir;
    if (module->kind == Kind::kPooling) checked = check_pooling(module->dir);
    if (module->kind == Kind::kNormalize) checked = check_normalize(module->dir);
    if (!checked) return checked;
    // Before the Pooling there is nothing to normalise; a second Pooling pools the tokens again.
    pools = pools || module->kind == Kind::kPooling;
    out.normalizes = module->kind == Kind::kNormalize ? pools : out.normalizes && module->kind != Kind::kPooling;
  }
  if (!pools)
    return invalid_argument(path + ": expected modules of type Transformer, Pooling and Normalize, found no Pooling");
  return {};
}

Result<void> read_prompts(const std::string& model_dir, SentenceTransformers& out) {
  auto file = JsonFile::load_if_present(model_dir, "config_sentence_transformers.json");
  if (!file) return file.error();
  if (!*file || !out.has_modules) return {};  // without a modules.json, sentence-transformers does not read it
  const JsonView json = (*file)->root();
  if (json.find("model_type") && json.text("model_type") != "SentenceTransformer")
    return json.bad("model_type", "\"SentenceTransformer\" (other types do not give one vector for each text)");
  if (json.has("truncate_dim")) {
    int64_t width = 0;
    if (auto done = json.integer("truncate_dim", 1, INT32_MAX, width); !done) return done;
    out.truncate_dim = width;
  }
  std::map<std::string, std::string> prompts{{"query", ""}, {"document", ""}};
  if (json.find("prompts")) {
    const auto given = json.child("prompts");
    if (!given) return json.bad("prompts", "an object of names and texts");
    for (const auto& [name, value] : given->members()) {
      std::string_view text;
      if (!value.is_null() && value.get(text) != simdjson::SUCCESS) return given->bad(name, "a text or null");
      prompts[name] = text;
    }
  }
  if (json.has("default_prompt_name")) {
    const auto name = json.text("default_prompt_name");
    if (!name || prompts.count(std::string(*name)) == 0) {
      std::string known;
      for (const auto& [prompt, text] : prompts) known += (known.empty() ? "\"" : ", \"") + excerpt(prompt) + "\"";
      return json.bad("default_prompt_name", "null or a name in \"prompts\" (" + known + ")");
    }
    out.default_prompt_name = *name;
  }
  out.prompts = std::move(prompts);
  return {};
}

/// The arguments of the Transformer module; unknown ones are refused, as its constructor refuses them.
Result<void> check_arguments(const JsonView& json) {
  for (const auto& [key, value] : json.members()) {
    if (key == "max_seq_length" || key == "unpad_inputs" || is_off(value)) continue;
    if (key == "transformer_task") {
      if (json.text(key) != "feature-extraction") return json.bad(key, "\"feature-extraction\"");
    } else if (key == "module_output_name") {
      if (json.text(key) != "token_embeddings") return json.bad(key, "\"token_embeddings\"");
    } else if (key == "modality_config") {
      const auto modalities = json.child(key);
      const auto text = modalities ? modalities->child("text") : std::nullopt;
      if (!text || text->text("method") != "forward" || text->text("method_output_name") != "last_hidden_state")
        return json.bad(key, "\"text\" by \"forward\" to \"last_hidden_state\"");
      if (modalities->find("message")) return modalities->bad("message", "nothing (chat templates are not applied)");
    } else if (key == "model_args" || key == "model_kwargs" || key == "config_args" || key == "config_kwargs") {
      const auto arguments = json.child(key);
      if (!arguments) return json.bad(key, "an object");
      for (const auto& [name, argument] : arguments->members()) {
        if (name != "attn_implementation" && name != "torch_dtype" && name != "dtype" && name != "device_map" &&
            name != "trust_remote_code" && name != "use_cache" && !is_off(argument))
          return arguments->bad(name, "nothing (not implemented)");
      }
    } else if (key == "tokenizer_args" || key == "processor_kwargs") {
      const auto arguments = json.child(key);
      if (!arguments) return json.bad(key, "an object");
      for (const auto& [name, argument] : arguments->members()) {
        if (name != "padding_side" && name != "use_fast" && name != "trust_remote_code" && !is_off(argument))
          return arguments->bad(name, "nothing (not implemented)");
      }
    } else {
      return json.bad(key, "nothing, null or false (not implemented)");
    }
  }
  return {};
}

Result<void> read_arguments(SentenceTransformers& out) {
  for (const char* name :
       {"sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json",
        "sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
        "sentence_xlnet_config.json"}) {
    auto file = JsonFile::load_if_present(out.transformer_dir, name);
    if (!file) return file.error();
    if (!*file || (*file)->root().members().empty()) continue;
    const JsonView json = (*file)->root();
    if (json.has("max_seq_length")) {
      int64_t tokens = 0;
      if (auto done = json.integer("max_seq_length", 2, INT32_MAX, tokens); !done) return done;
      out.max_seq_length = tokens;
    }
    return check_arguments(json);
  }
  return {};
}

}  // namespace

Result<SentenceTransformers> read_sentence_transformers(const std::string& model_dir) {
  SentenceTransformers out;
  out.transformer_dir = model_dir;
  if (auto done = read_modules(model_dir, out); !done) return done.error();
  if (auto done = read_prompts(model_dir, out); !done) return done.error();
  if (out.has_modules) {
    if (auto done = read_arguments(out); !done) return done.error();
  }
  return out;
}

}  // namespace quern
