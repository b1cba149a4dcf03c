// --model-path: a folder, or "Org/Name" in the local Hugging Face cache. Reads only. Any thread.
#pragma once

#include <string>

#include "base/result.h"

namespace quern {

/// The folder that holds config.json. An existing folder is taken as it is; "Org/Name" is looked up in
/// $HUGGINGFACE_HUB_CACHE, $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub, at the revision of refs/main.
Result<std::string> resolve_model_path(const std::string& model_path);

}  // namespace quern
