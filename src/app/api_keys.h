// The API keys of --api-key and --api-key-file.
#pragma once

#include <string>
#include <vector>

#include "api/api_config.h"
#include "base/result.h"

namespace quern {

/// One key a line, `KEY`, `KEY NAME` or `KEY NAME PRIORITY` (the most that its requests' `priority` may amount to, 0
/// where it is not given); empty lines and lines that begin with # are passed over. A key without a name
/// gets "key-N". Errors name the file and line: a key of fewer than 8 characters, the same key twice, an unreadable
/// file.
Result<std::vector<ApiKey>> read_api_keys(const std::vector<std::string>& keys, const std::string& file);

}  // namespace quern
