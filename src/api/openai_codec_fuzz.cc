// Any bytes as the body of POST /v1/embeddings: no crash, and what is accepted keeps every promise of CallPlan.
#include <cstdint>
#include <string>

#include "api/test_config.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const quern::Parsed parsed(std::string(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) {
    QUERN_CHECK(!parsed.error().message.empty() && parsed.error().message.size() < 1024, "an error's message");
    return 0;
  }
  QUERN_CHECK(!parsed->inputs.empty() && parsed->inputs.size() <= 3, "number of inputs");
  QUERN_CHECK(parsed->dimensions >= 32 && parsed->dimensions <= 64, "dimensions");
  QUERN_CHECK(parsed->tokens_max >= 1 && parsed->tokens_max <= 100, "tokens_max");
  for (const auto& input : parsed->inputs) {
    if (const auto* text = std::get_if<std::string_view>(&input)) {
      QUERN_CHECK(!text->empty(), "an empty input");
      QUERN_CHECK(text->data() >= parsed.body.data() && text->data() + text->size() <= parsed.body.data() + size,
                  "a text outside the body");
      continue;
    }
    const auto& ids = std::get<std::vector<int32_t>>(input);
    QUERN_CHECK(!ids.empty() && ids.size() <= 100 && ids.back() == 999, "ids that are not whole");
    for (int32_t id : ids) QUERN_CHECK(id >= 0 && id < 1000, "a token id outside the vocabulary");
  }
  return 0;
}
