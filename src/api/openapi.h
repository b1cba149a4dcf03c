// The OpenAPI document of what this server does, with its real limits in it. Pure functions.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "api/api_config.h"
#include "api/served_model.h"

namespace quern {

/// Put together from the rows of the table of routes.
std::string openapi_document(const ApiConfig& config, const Models& models);

// For the rows.

/// `"responses":{...}`: 200 with that content, and one answer of shape Error for each status and text. Routes behind a
/// key (`guarded`, where there are keys) also answer 401.
std::string openapi_responses(std::string_view ok_content, bool guarded,
                              std::initializer_list<std::pair<int, std::string_view>> errors);
/// `"application/json":{"schema":...}`.
std::string openapi_json(std::string_view schema);
/// An operation object: `"operationId"`, for guarded ones `"security"`, then `parts`.
std::string openapi_operation(std::string_view id, bool guarded, std::string_view parts);

}  // namespace quern
