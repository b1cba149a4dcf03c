#include "api/prompts.h"

namespace quern {

namespace {

constexpr std::string_view kDefaultTask = "Given a web search query, retrieve relevant passages that answer the query";

}  // namespace

std::string instruction_prompt(std::string_view task) {
  std::string prompt = "Instruct: ";
  prompt.append(task).append("\nQuery:");
  return prompt;
}

std::map<std::string, std::string> default_prompts() {
  return {{"query", instruction_prompt(kDefaultTask)}, {"document", ""}};
}

}  // namespace quern
