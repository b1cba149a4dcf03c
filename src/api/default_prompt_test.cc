// The prompt of a model folder that is put before texts of requests that name none.
#include <gtest/gtest.h>

#include "api/embed_request.h"

namespace quern {
namespace {

TEST(DefaultPrompt, IsForRequestsThatNameNone) {
  ApiConfig config;
  config.model_names = {"m"};
  config.width = 64;
  config.context_tokens_max = 100;
  config.vocab_tokens = 100;
  config.prompts = {{"query", "Q: "}, {"document", ""}};
  config.default_prompt = "Q: ";
  const auto prompt_of = [&](const std::string& more) {
    std::string body = R"({"model": "m", "input": "x")" + more + "}";
    const auto request = parse_embed_request(body, config);
    return request.ok() ? request->prompt : request.error().message;
  };
  EXPECT_EQ(prompt_of(""), "Q: ");
  EXPECT_EQ(prompt_of(R"(, "prompt_name": "query")"), "Q: ");
  EXPECT_EQ(prompt_of(R"(, "prompt_name": "document")"), "");
  EXPECT_EQ(prompt_of(R"(, "instruction": "t")"), "Instruct: t\nQuery:");
}

}  // namespace
}  // namespace quern
