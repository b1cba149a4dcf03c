#include "model/model_path.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include "base/ascii.h"
#include "model/folder_files.h"

namespace quern {
namespace {

constexpr const char* kFlag = "--model-path";
constexpr size_t kSnapshotsNamedMax = 5;

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == 0) return std::nullopt;
  std::string text = value;
  const char* home = std::getenv("HOME");
  if (home != nullptr && (text == "~" || text.compare(0, 2, "~/") == 0)) text.replace(0, 1, home);
  return text;
}

std::string cache_root() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (auto value = environment(name)) return *value;
  }
  if (auto home = environment("HF_HOME")) return *home + "/hub";
  if (auto cache = environment("XDG_CACHE_HOME")) return *cache + "/huggingface/hub";
  return environment("HOME").value_or(".") + "/.cache/huggingface/hub";
}

std::vector<std::string> snapshots_of(const std::string& repository) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (std::filesystem::directory_iterator at(repository + "/snapshots", ignored), end; !ignored && at != end;
       at.increment(ignored)) {
    names.push_back(at->path().filename().string());
  }
  return names;
}

/// The snapshot of `revision`, a branch, tag or commit; empty: main, or the only one there.
Result<std::string> snapshot_of(const std::string& model, const std::string& repository, const std::string& revision) {
  const auto known = is_present(repository);
  if (!known) return known.error();
  if (!*known) {
    return invalid_argument(model + ": no such folder, and not in the Hugging Face cache (no " + repository +
                                "); download it first, or name a folder",
                            kFlag);
  }
  const std::string reference = repository + "/refs/" + (revision.empty() ? "main" : revision);
  std::error_code ignored;
  // To open a FIFO would be to wait for somebody who writes into it.
  if (std::string commit; std::filesystem::is_regular_file(reference, ignored)) {
    if (std::ifstream(reference) >> commit) return commit;
  }
  const std::vector<std::string> snapshots = snapshots_of(repository);
  if (revision.empty() && snapshots.size() == 1) return snapshots[0];
  std::string there;
  for (size_t i = 0; i < snapshots.size() && i < kSnapshotsNamedMax; ++i) {
    if (!revision.empty() && snapshots[i] == revision) return revision;
    there += (there.empty() ? "" : ", ") + snapshots[i];
  }
  for (const std::string& snapshot : snapshots) {
    if (snapshot == revision) return revision;
  }
  if (snapshots.size() > kSnapshotsNamedMax) there += ", ...";
  return invalid_argument(model + ": the Hugging Face cache has no " +
                              (revision.empty() ? "refs/main" : "revision \"" + revision + "\"") + " in " + repository +
                              (snapshots.empty() ? "; download it first"
                                                 : "; name a revision with --revision or ORG/NAME@REVISION: " + there),
                          revision.empty() ? kFlag : "--revision");
}

}  // namespace

Result<std::string> resolve_model_path(const std::string& model_path, const std::string& revision) {
  std::error_code ignored;
  if (std::filesystem::is_directory(model_path, ignored)) {
    if (!revision.empty())
      return invalid_argument(model_path + " is a folder, which has no revisions; give ORG/NAME", "--revision");
    const auto config = is_present(model_path + "/config.json"), modules = is_present(model_path + "/modules.json");
    if (!config) return config.error();
    if (*config || (modules && *modules)) return model_path;
    return invalid_argument(model_path + ": expected a model folder, found no config.json in it", kFlag);
  }
  if (to_lower(model_path).find("gguf") != std::string::npos) {
    return invalid_argument(model_path + ": GGUF files are not read; name a folder of safetensors, or the ORG/NAME " +
                                "that they were made from (Qwen/Qwen3-Embedding-0.6B)",
                            kFlag);
  }
  if (std::filesystem::exists(model_path, ignored)) {
    return invalid_argument(model_path + ": expected a model folder, found a file; name the folder it is in", kFlag);
  }
  const size_t at = model_path.find('@');
  const std::string model = model_path.substr(0, at);
  const size_t slash = model.find('/');
  const bool named = slash != std::string::npos && slash > 0 && slash + 1 < model.size() &&
                     model.find('/', slash + 1) == std::string::npos && model[0] != '.' && model[0] != '~';
  if (!named || at + 1 == model_path.size())
    return invalid_argument(model_path + ": no such folder (allowed: a folder, ORG/NAME, or ORG/NAME@REVISION)", kFlag);
  const std::string inside = at == std::string::npos ? "" : model_path.substr(at + 1);
  if (!inside.empty() && !revision.empty() && inside != revision) {
    return invalid_argument("is " + revision + ", but --model-path names revision " + inside, "--revision");
  }
  const std::string wanted = inside.empty() ? revision : inside;
  if (("/" + wanted + "/").find("/../") != std::string::npos || wanted.substr(0, 1) == "/")
    return invalid_argument(wanted + ": expected a branch, a tag or a commit", "--revision");

  const std::string repository = cache_root() + "/models--" + model.substr(0, slash) + "--" + model.substr(slash + 1);
  auto snapshot = snapshot_of(model, repository, wanted);
  if (!snapshot) return snapshot.error();
  const std::string folder = repository + "/snapshots/" + *snapshot;
  for (const char* file : {"config.json", "modules.json"}) {
    const auto present = is_present(folder + "/" + file);
    if (!present) return present.error();
    if (*present) return folder;
  }
  return missing_file(folder, "config.json");
}

}  // namespace quern
