// Any bytes as the body of POST /v1/embeddings: no crash, and what is accepted keeps every promise of EmbedRequest.
#include <cstdint>
#include <string>

#include "api/embed_request.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const quern::ApiConfig config = [] {
    quern::ApiConfig made;
    made.model_names = {"m"};
    made.width = 64;
    made.context_tokens_max = 100;
    made.vocab_tokens = 1000;
    made.inputs_max = 8;
    made.prompts = quern::default_prompts();
    return made;
  }();
  std::string body(reinterpret_cast<const char*>(data), size);
  const std::string copy = body;
  const auto parsed = quern::parse_embed_request(body, config);
  QUERN_CHECK(body == copy, "the body was changed");
  if (!parsed) {
    QUERN_CHECK(!parsed.error().message.empty(), "an error without a message");
    return 0;
  }
  QUERN_CHECK(!parsed->inputs.empty() && parsed->inputs.size() <= 8, "number of inputs");
  QUERN_CHECK(parsed->dimensions >= 32 && parsed->dimensions <= 64, "dimensions");
  QUERN_CHECK(parsed->tokens_max >= 1 && parsed->tokens_max <= 100, "tokens_max");
  for (const auto& input : parsed->inputs) {
    if (const auto* text = std::get_if<std::string>(&input)) {
      QUERN_CHECK(!text->empty(), "an empty input");
      continue;
    }
    const auto& ids = std::get<std::vector<int32_t>>(input);
    QUERN_CHECK(!ids.empty(), "an empty input");
    for (int32_t id : ids) QUERN_CHECK(id >= 0 && id < 1000, "a token id outside the vocabulary");
  }
  return 0;
}
