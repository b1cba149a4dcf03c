// ServedModel: what the API knows of one model. Models: which model a name means.
//
// Made at start, read by any thread afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/truncation.h"
#include "core/embedder.h"

namespace quern {

/// The token ids of prompt and text together, EOS included, cut to `tokens_max` at `side`. kInvalidArgument when they
/// are more and side is kNone: the message says how many and how many are allowed. Any thread.
using TextEncoder = std::function<Result<std::vector<int32_t>>(std::string_view prompt, std::string_view text,
                                                               int32_t tokens_max, Truncation side)>;

/// This name among a model's names stands for any name that a client may send.
constexpr std::string_view kAnyModelName = "*";
/// No prompt has a longer name, nor has what kAnyModelName stands for.
constexpr size_t kNameBytesMax = 1024;

struct ServedModel {
  std::vector<std::string> names;  // the first is its own; never empty
  std::string revision;            // for /info, may be empty
  std::string device;              // for /info, may be empty
  int64_t created_s = 0;           // unix time told by /v1/models
  int32_t width = 0;               // D: of a full Output
  int32_t context_tokens_max = 0;  // EOS included
  int32_t vocab_tokens = 0;        // token ids are in [0, vocab_tokens)
  std::optional<int32_t> eos_token_id;
  std::map<std::string, std::string> prompts;  // prompt_name -> text put before the input
  std::string default_prompt;                  // before texts of requests that choose no prompt
  TextEncoder encode;
  Embedder* embedder = nullptr;  // outlives the API
};

class Models {
 public:
  /// The first is the default. Each has a name, an encoder and an embedder.
  explicit Models(std::vector<ServedModel> models);

  const ServedModel& default_model() const { return models_.front(); }
  /// The model that a request means by this name; null when there is none.
  const ServedModel* find(std::string_view name) const;
  /// All names, without kAnyModelName, each with its model.
  const std::vector<std::pair<std::string, const ServedModel*>>& names() const { return names_; }
  bool takes_any_name() const { return any_ != nullptr; }

 private:
  std::vector<ServedModel> models_;
  std::vector<std::pair<std::string, const ServedModel*>> names_;
  const ServedModel* any_ = nullptr;
};

}  // namespace quern
