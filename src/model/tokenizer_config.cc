#include "model/tokenizer_config.h"

#include <limits>
#include <string_view>
#include <utility>

#include "base/ascii.h"
#include "base/excerpt.h"

namespace quern {
namespace {

using simdjson::dom::element;

/// A token is written as its text, or as {"content": text, "lstrip": ..., ...}.
std::optional<std::string> content_of(const JsonView& json, const std::string& key) {
  if (const auto text = json.text(key)) return std::string(*text);
  const auto token = json.child(key);
  const auto content = token ? token->text("content") : std::nullopt;
  return content ? std::optional(std::string(*content)) : std::nullopt;
}

/// The token of `key` must be what the tokenizer has already.
Result<void> check_token(const JsonView& json, const std::string& key, std::optional<int32_t> id,
                         const Tokenizer& tokenizer) {
  const auto content = content_of(json, key);
  if (!content) return json.bad(key, "a token");
  // One that is only in the vocabulary would be cut out of the words that it stands in.
  const auto known = tokenizer.added_token_to_id(*content);
  if (!known) return json.bad(key, "one of tokenizer.json's added_tokens (others are not added here)");
  if (id && *id != *known) return json.bad(key, "the token's id in tokenizer.json, " + std::to_string(*known));
  if (const auto token = json.child(key)) {
    for (const char* rule : {"lstrip", "rstrip", "single_word"}) {
      if (token->boolean(rule) == true) return token->bad(rule, "false (not implemented)");
    }
  }
  return {};
}

Result<void> check_special_tokens(const JsonView& json, const Tokenizer& tokenizer) {
  for (const char* key : {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"}) {
    if (!json.has(key)) continue;
    if (auto done = check_token(json, key, std::nullopt, tokenizer); !done) return done;
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    if (!json.has(key) || is_off(*json.find(key))) continue;
    simdjson::dom::array tokens;
    if (json.find(key)->get(tokens) == simdjson::SUCCESS) {
      size_t index = 0;
      for (element token : tokens) {
        const auto name = std::to_string(index++);
        const std::string one = "{\"" + name + "\":" + simdjson::minify(token) + "}";
        simdjson::dom::parser parser;
        element wrapped;
        if (parser.parse(one).get(wrapped) != simdjson::SUCCESS) return json.bad(key, "tokens");
        const JsonView view(&json.path(), std::string(key) + ".", wrapped);
        if (auto done = check_token(view, name, std::nullopt, tokenizer); !done) return done;
      }
    } else if (const auto named = json.child(key)) {
      for (const auto& [name, token] : named->members()) {
        if (auto done = check_token(*named, name, std::nullopt, tokenizer); !done) return done;
      }
    } else {
      return json.bad(key, "a list of tokens");
    }
  }
  return {};
}

Result<void> check_tokens_of(const JsonView& json, const Tokenizer& tokenizer) {
  if (auto done = check_special_tokens(json, tokenizer); !done) return done;
  const auto added = json.child("added_tokens_decoder");
  if (!added) return {};
  for (const auto& [key, token] : added->members()) {
    const auto id = parse_integer(key, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max());
    if (!id) return added->bad(key, "a token id as its name");
    if (auto done = check_token(*added, key, static_cast<int32_t>(*id), tokenizer); !done) return done;
  }
  return {};
}

/// transformers builds the tokenizer of a class that it knows anew, from the vocabulary and the merges alone.
std::optional<TextRules> rules_of(std::string_view tokenizer_class) {
  if (tokenizer_class.ends_with("Fast")) tokenizer_class.remove_suffix(4);
  if (tokenizer_class == "Qwen2Tokenizer") return TextRules::kQwen2;
  for (const char* name : {"", "PreTrainedTokenizer", "TokenizersBackend", "Qwen3Tokenizer", "LlamaTokenizer"}) {
    if (tokenizer_class == name) return TextRules::kOfFile;
  }
  return std::nullopt;
}

constexpr const char* kClasses =
    "Qwen2Tokenizer, PreTrainedTokenizerFast or TokenizersBackend (others have rules of their own)";

/// Without an attention mask the reference's vectors depend on what else is in the batch.
Result<void> check_input_names(const JsonView& json) {
  if (!json.find("model_input_names")) return {};
  simdjson::dom::array names;
  bool has_mask = false;
  if (json.find("model_input_names")->get(names) == simdjson::SUCCESS) {
    for (const element name : names) {
      std::string_view text;
      has_mask = has_mask || (name.get(text) == simdjson::SUCCESS && text == "attention_mask");
    }
  }
  if (has_mask) return {};
  return json.bad("model_input_names", "a list with \"attention_mask\" in it, as padding would count else");
}

}  // namespace

Result<TokenizerConfig> read_tokenizer_config(const std::string& dir, const std::optional<std::string>& config_class) {
  TokenizerConfig config;
  auto file = JsonFile::load_if_present(dir, "tokenizer_config.json");
  if (!file) return file.error();
  const std::optional<JsonView> own = *file ? std::optional((*file)->root()) : std::nullopt;
  const bool named = own && own->has("tokenizer_class");
  const std::string name(named ? own->text("tokenizer_class").value_or("?") : config_class.value_or("Qwen2Tokenizer"));
  const auto rules = rules_of(name);
  if (!rules && named) return own->bad("tokenizer_class", kClasses);
  if (!rules) {
    return invalid_argument(dir + "/config.json: \"tokenizer_class\": expected " + kClasses + ", found \"" +
                            excerpt(name) + "\"");
  }
  config.rules = *rules;
  if (!own) return config;
  const JsonView& json = *own;
  if (auto done = check_input_names(json); !done) return done.error();
  // Not add_bos_token and add_eos_token: transformers passes over them, tokenizer.json's post-processor decides.
  for (const char* key : {"split_special_tokens", "add_prefix_space", "do_lower_case"}) {
    const auto value = json.find(key);
    if (value && !is_off(*value)) return json.bad(key, "false or null (not implemented)");
  }
  if (json.has("truncation_side")) {
    const auto side = json.text("truncation_side");
    if (side != "left" && side != "right") return json.bad("truncation_side", "\"left\" or \"right\"");
    config.truncates_left = side == "left";
  }
  if (json.has("model_max_length")) {
    const auto length = json.number("model_max_length");
    if (!length || !(*length >= 2)) return json.bad("model_max_length", "a number of tokens from 2");
    // Beyond any model's positions it is no limit ("1e30").
    if (*length < 1e9) config.model_max_length = static_cast<int64_t>(*length);
  }
  if (json.has("eos_token")) {
    config.eos_token = content_of(json, "eos_token");
    if (!config.eos_token) return json.bad("eos_token", "a token");
  }
  config.file = std::move(*file);
  return config;
}

Result<void> check_added_tokens(const std::string& dir, const TokenizerConfig& config, const Tokenizer& tokenizer) {
  const auto map = JsonFile::load_if_present(dir, "special_tokens_map.json");
  if (!map) return map.error();
  for (const std::optional<JsonFile>* file : {&config.file, &*map}) {
    if (!*file) continue;
    if (auto done = check_tokens_of((*file)->root(), tokenizer); !done) return done;
  }
  auto file = JsonFile::load_if_present(dir, "added_tokens.json");
  if (!file) return file.error();
  if (!*file) return {};
  const JsonView json = (*file)->root();
  for (const auto& [token, value] : json.members()) {
    const auto known = tokenizer.added_token_to_id(token);
    int64_t id = -1;
    if (value.get(id) != simdjson::SUCCESS || !known || id != *known)
      return json.bad(token, known ? "its id in tokenizer.json, " + std::to_string(*known)
                                   : "one of tokenizer.json's added_tokens (others are not added here)");
  }
  return {};
}

}  // namespace quern
