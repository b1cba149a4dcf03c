// EmbedRequest: the body of POST /v1/embeddings, parsed and validated. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/api_config.h"
#include "base/result.h"

namespace quern {

enum class EncodingFormat { kFloat, kBase64 };
enum class Truncate { kNone, kLeft, kRight };

/// Text, or token ids already inside the vocabulary.
using EmbedInput = std::variant<std::string, std::vector<int32_t>>;

struct EmbedRequest {
  std::vector<EmbedInput> inputs;  // 1 .. inputs_max, none empty
  bool single = false;             // "input" was not a list: errors then say "input", not "input[0]"
  std::string model;               // the served name it is answered under
  EncodingFormat encoding_format = EncodingFormat::kFloat;
  int32_t dimensions = 0;  // dimensions_min .. width
  std::string prompt;      // put before each text input
  Truncate truncate = Truncate::kNone;
  int32_t tokens_max = 0;  // per input, EOS included: the context, or truncate_prompt_tokens
  bool normalize = true;
  int32_t priority = 0;
  int64_t timeout_ms = 0;  // 0: none
};

/// Parses `body` (any bytes). Takes it by reference because it may add the padding simdjson wants; the text is not
/// changed. Errors: kInvalidArgument naming field and bounds; kNotFound for a model that is not served.
Result<EmbedRequest> parse_embed_request(std::string& body, const ApiConfig& config);

/// "input" or "input[3]".
std::string input_name(const EmbedRequest& request, size_t index);

}  // namespace quern
