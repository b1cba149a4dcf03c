#include "model/model_path.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace quern {
namespace {

std::string cache_root() {
  for (const char* name : {"HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != 0) return value;
  }
  if (const char* home = std::getenv("HF_HOME"); home != nullptr && *home != 0) return std::string(home) + "/hub";
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "." : home) + "/.cache/huggingface/hub";
}

}  // namespace

Result<std::string> resolve_model_path(const std::string& model_path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(model_path, ignored)) {
    if (std::filesystem::exists(model_path + "/config.json", ignored)) return model_path;
    return invalid_argument(model_path + ": expected a model folder, found no config.json in it", "--model-path");
  }
  const size_t slash = model_path.find('/');
  const bool named = slash != std::string::npos && slash > 0 && slash + 1 < model_path.size() &&
                     model_path.find('/', slash + 1) == std::string::npos && model_path[0] != '.';
  if (!named) return invalid_argument(model_path + ": no such folder (allowed: a folder, or Org/Name)", "--model-path");

  const std::string repository =
      cache_root() + "/models--" + model_path.substr(0, slash) + "--" + model_path.substr(slash + 1);
  std::ifstream reference(repository + "/refs/main");
  std::string revision;
  if (!(reference >> revision))
    return invalid_argument(model_path + ": no such folder, and not in the Hugging Face cache (no " + repository +
                                "/refs/main); download it first, or name a folder",
                            "--model-path");
  const std::string folder = repository + "/snapshots/" + revision;
  if (!std::filesystem::exists(folder + "/config.json", ignored))
    return invalid_argument(folder + ": expected a model folder, found no config.json in it", "--model-path");
  return folder;
}

}  // namespace quern
