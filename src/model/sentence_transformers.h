// What the files that sentence-transformers writes beside a model say about its vectors: modules.json, the modules'
// folders, config_sentence_transformers.json, sentence_bert_config.json. Plain values; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"

namespace quern {

struct SentenceTransformers {
  bool has_modules = false;     // there is a modules.json
  std::string transformer_dir;  // where config.json, tokenizer.json and the weights are
  bool normalizes = false;      // ends in Normalize
  /// Prompts by name; nothing where config_sentence_transformers.json is not there. "query" and "document" always have
  /// one, empty where the file has none, as in sentence-transformers.
  std::optional<std::map<std::string, std::string>> prompts;
  std::optional<std::string> default_prompt_name;  // one of `prompts`
  std::optional<int64_t> max_seq_length;           // sentence_bert_config.json
  std::optional<int64_t> truncate_dim;             // encode() cuts vectors to this width
};

/// Reads them in `model_dir`; each may be missing, and is then what sentence-transformers takes it for. Refuses by name
/// whatever makes encode() compute something else than the last token's hidden state, in any order or spelling.
Result<SentenceTransformers> read_sentence_transformers(const std::string& model_dir);

}  // namespace quern
