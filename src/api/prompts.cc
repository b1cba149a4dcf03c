#include "api/api_config.h"

namespace quern {

std::string instruction_prompt(std::string_view task) {
  std::string prompt = "Instruct: ";
  prompt.append(task).append("\nQuery:");
  return prompt;
}

std::map<std::string, std::string> default_prompts() {
  return {{"query", instruction_prompt(kDefaultTask)}, {"document", ""}};
}

}  // namespace quern
