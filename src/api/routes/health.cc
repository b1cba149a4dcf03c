// GET /health (the process lives) and /ready (requests can be served).
#include "api/openapi.h"
#include "api/routes/routes.h"

namespace quern {

namespace {

constexpr std::string_view kObject = R"({"type":"object"})";

Result<HttpResponse> answer_health(const RouteContext&, std::string_view) {
  return json_response("{\"status\":\"ok\"}");
}

Result<HttpResponse> answer_ready(const RouteContext& context, std::string_view) {
  if (auto state = context.ready(); !state) return state.error();
  return json_response("{\"status\":\"ready\"}");
}

const Route kRoutes[] = {
    {"GET", "/health", "health", Access::kOpen, nullptr, answer_health,
     [](bool) { return openapi_operation("health", false, openapi_responses(openapi_json(kObject), false, {})); }},
    {"GET", "/ready", "ready", Access::kOpen, nullptr, answer_ready,
     [](bool) {
       return openapi_operation("ready", false,
                                openapi_responses(openapi_json(kObject), false, {{503, "Not ready, or draining"}}));
     }},
};

}  // namespace

std::span<const Route> health_routes() { return kRoutes; }

}  // namespace quern
