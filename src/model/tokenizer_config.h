// What tokenizer_config.json and its companions say that changes a text's ids. Any thread, one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "model/json_file.h"
#include "tokenizer/tokenizer.h"

namespace quern {

struct TokenizerConfig {
  std::optional<int64_t> model_max_length;  // nothing: no limit
  bool truncates_left = false;              // texts over the limit lose their start
  TextRules rules = TextRules::kQwen2;      // of the tokenizer's class
  std::optional<std::string> eos_token;
  std::optional<JsonFile> file;  // the rest of it, for check_added_tokens()
};

/// Reads tokenizer_config.json in `dir`, which may be missing. Refuses by name whatever would make transformers give
/// other ids than tokenizer.json says. `config_class`: config.json's tokenizer_class.
Result<TokenizerConfig> read_tokenizer_config(const std::string& dir, const std::optional<std::string>& config_class);

/// Refuses by name the tokens that tokenizer_config.json, special_tokens_map.json or added_tokens.json would add to the
/// vocabulary of tokenizer.json, or give other ids or rules.
Result<void> check_added_tokens(const std::string& dir, const TokenizerConfig& config, const Tokenizer& tokenizer);

}  // namespace quern
