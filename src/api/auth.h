// API keys. Pure functions; any thread.
#pragma once

#include <vector>

#include "api/api_config.h"
#include "base/result.h"
#include "http/http_types.h"

namespace quern {

/// The key that a request shows, as `Authorization: Bearer KEY` or `api-key: KEY` (Azure's clients); null when no keys
/// are set up. Takes the same time for every wrong key of a length, so that keys cannot be guessed byte by byte.
Result<const ApiKey*> authenticate(const HttpRequest& request, const std::vector<ApiKey>& keys);

}  // namespace quern
