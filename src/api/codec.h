// Codec: one client dialect: a body -> a CallPlan, Outputs -> a body, and its own shape of errors.
//
// CallPlan: a request for embeddings, parsed and validated, without JSON in it. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/api_config.h"
#include "api/served_model.h"
#include "base/memory_budget.h"
#include "base/result.h"
#include "core/output.h"
#include "http/http_types.h"

namespace quern {

/// Text (a view into the body that was parsed), or token ids, whole: inside the vocabulary, EOS last, at most
/// tokens_max.
using CallInput = std::variant<std::string_view, std::vector<int32_t>>;

struct CallPlan {
  const ServedModel* model = nullptr;
  std::string model_name;         // as the client sent it; it is answered under that name
  std::vector<CallInput> inputs;  // 1 .. inputs_max, none empty, all texts or all ids
  bool single = false;            // "input" was not a list: errors then say "input", not "input[0]"
  std::string prompt;             // put before each text input
  Truncation truncation = Truncation::kNone;
  int32_t tokens_max = 0;  // per input, EOS included: the context, or less
  int32_t dimensions = 0;  // dimensions_min .. width
  bool normalize = true;
  bool base64 = false;
  int32_t priority = 0;
  int64_t timeout_ms = 0;  // 0: the request names none
};

/// What a codec reads. The body may be changed: strings are unescaped in place, and the plan holds views into it.
struct CodecInput {
  std::string& body;
  std::string_view path_model;  // the model that the path names; empty: the path names none
  const Models& models;
  const ApiConfig& config;
  MemoryBudget::Lease& lease;  // grown for the token ids before they are kept
};

struct Codec {
  /// kInvalidArgument naming field and bounds; kNotFound for a model that is not served; kOverloaded when the memory
  /// budget is used up.
  Result<CallPlan> (*parse)(const CodecInput& input);
  /// `outputs` are already cut; `tokens` counts those of all inputs, EOS included.
  std::string (*write)(const CallPlan& plan, std::span<const Output> outputs, int64_t tokens);
  /// At most that many bytes write() needs.
  int64_t (*answer_bytes)(const CallPlan& plan);
  HttpResponse (*error)(const Error& error);
};

/// "input" or "input[3]".
std::string input_name(const CallPlan& plan, size_t index);

}  // namespace quern
