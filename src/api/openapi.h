// The OpenAPI document of what this server does, with its real limits in it. Pure function.
#pragma once

#include <string>

#include "api/api_config.h"

namespace quern {

std::string openapi_document(const ApiConfig& config);

}  // namespace quern
