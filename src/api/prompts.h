// The prompts of Qwen3-Embedding, to the byte. Pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace quern {

/// "Instruct: {task}\nQuery:" : what stands before a query. No space follows "Query:".
std::string instruction_prompt(std::string_view task);

/// prompt_name -> prompt: "query" with the model card's default task, "document" without any.
std::map<std::string, std::string> default_prompts();

}  // namespace quern
