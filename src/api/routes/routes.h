// The table of routes: one file a family, put together here.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "api/route.h"

namespace quern {

/// Every route; the last two rows match no request: other_route() and transport_route(). Any thread.
std::span<const Route> all_routes();

/// Unknown paths.
const Route& other_route();
/// What the transport refuses before there is a path.
const Route& transport_route();

std::span<const Route> openai_routes();
std::span<const Route> model_routes();
std::span<const Route> health_routes();
std::span<const Route> info_routes();

/// OpenAPI schemas of the families, `"Name":{...}` separated by commas, with @MARKS@.
std::string_view openai_schemas();
std::string_view model_schemas();

}  // namespace quern
