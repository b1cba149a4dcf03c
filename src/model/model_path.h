// --model-path: a folder, or "ORG/NAME" in the local Hugging Face cache. Reads only. Any thread.
#pragma once

#include <string>

#include "base/result.h"

namespace quern {

/// The folder that holds the model's files. An existing folder is taken as it is. "ORG/NAME" and "ORG/NAME@REVISION"
/// are looked up in the cache where huggingface_hub has it: $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub,
/// $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub; an empty variable counts as unset. `revision` (empty:
/// main) is a branch, a tag or a commit; where the cache knows no branch, the one snapshot there is is taken.
Result<std::string> resolve_model_path(const std::string& model_path, const std::string& revision = "");

}  // namespace quern
