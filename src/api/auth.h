// API keys. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/api_config.h"
#include "base/result.h"

namespace quern {

/// The tenant of the key in an Authorization header ("Bearer KEY"); empty when no keys are set up. Takes the same time
/// for every wrong key of a length, so that keys cannot be guessed byte by byte.
Result<std::string> authenticate(std::string_view authorization, const std::vector<ApiKey>& keys);

}  // namespace quern
