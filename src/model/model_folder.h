// ModelFolder: what can be read of a model in milliseconds, before its weights: where it is, its config, prompts,
// limits and tokenizer.
//
// Promises that what loads gives the vectors of sentence-transformers' encode(), and that everything else is refused
// with an Error that names file, field, what was found and what is allowed. Immutable once read; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "tokenizer/tokenizer.h"

namespace quern {

struct ModelFolderOptions {
  std::string path;                // a folder, ORG/NAME or ORG/NAME@REVISION
  std::string revision;            // of ORG/NAME; empty: main
  int32_t context_tokens_max = 0;  // 0: the model's own
  bool append_eos = false;         // where tokenizer.json appends no end token
  bool needs_weights = true;       // check that the weights' files are there
};

struct ModelFolder {
  std::string dir;
  std::string weights_dir;  // config.json, tokenizer.json and the weights: `dir`, or a folder in it
  std::string name;         // the folder's name, or ORG/NAME
  ModelConfig config;
  std::unique_ptr<Tokenizer> tokenizer;
  std::map<std::string, std::string> prompts;  // prompt_name -> text in front of the input
  std::string default_prompt;                  // in front of inputs of requests that name no prompt
  int32_t context_tokens_max = 0;
  Truncation truncation_side = Truncation::kRight;  // of inputs over the limit, where a request wants them cut
  std::vector<std::string> notices;                 // lines that a person should see at start

  int32_t width() const { return static_cast<int32_t>(config.hidden_size); }
  int32_t vocab_rows() const { return static_cast<int32_t>(config.vocab_size); }
};

Result<ModelFolder> read_model_folder(const ModelFolderOptions& options);

/// Tokens of `prompt + text`, end token included. kInvalidArgument when they are over the context length and `truncate`
/// is not set.
Result<std::vector<int32_t>> encode_text(const ModelFolder& folder, const std::string& prompt, const std::string& text,
                                         bool truncate);

}  // namespace quern
