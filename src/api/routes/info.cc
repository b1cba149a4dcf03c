// GET /info, /metrics and /openapi.json: what the server says of itself.
#include "api/json_writer.h"
#include "api/openapi.h"
#include "api/routes/routes.h"

namespace quern {

namespace {

constexpr std::string_view kObject = R"({"type":"object"})";

Result<HttpResponse> answer_info(const RouteContext& context, std::string_view) {
  const ApiConfig& config = context.config;
  const ServedModel& model = context.models.default_model();
  std::string out = "{\"version\":";
  const auto text = [&out](std::string_view name, std::string_view value) {
    out.append(",\"").append(name).append("\":");
    append_json_string(out, value);
  };
  const auto number = [&out](std::string_view name, int64_t value) {
    out.append(",\"").append(name).append("\":");
    append_json_integer(out, value);
  };
  append_json_string(out, config.version);
  text("commit", config.commit);
  text("model", model.names.front());
  text("revision", model.revision);
  text("device", model.device);
  number("width", model.width);
  number("context_tokens_max", model.context_tokens_max);
  number("vocab_tokens", model.vocab_tokens);
  number("inputs_max", config.inputs_max);
  number("dimensions_min", config.dimensions_min);
  out.append(",\"prompts\":{");
  bool first = true;
  for (const auto& [name, prompt] : model.prompts) {
    if (!first) out.push_back(',');
    first = false;
    append_json_string(out, name);
    out.push_back(':');
    append_json_string(out, prompt);
  }
  return json_response(out + "}}");
}

Result<HttpResponse> answer_metrics(const RouteContext& context, std::string_view) {
  HttpResponse response = json_response(context.metrics.text());
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return response;
}

Result<HttpResponse> answer_openapi(const RouteContext& context, std::string_view) {
  return json_response(context.openapi);
}

const Route kRoutes[] = {
    {"GET", "/info", "info", Access::kKey, nullptr, answer_info,
     [](bool guarded) {
       return openapi_operation("info", guarded, openapi_responses(openapi_json(kObject), guarded, {}));
     }},
    {"GET", "/metrics", "metrics", Access::kOpen, nullptr, answer_metrics,
     [](bool) {
       return openapi_operation("metrics", false,
                                openapi_responses(R"("text/plain":{"schema":{"type":"string"}})", false, {}));
     }},
    {"GET", "/openapi.json", "openapi", Access::kOpen, nullptr, answer_openapi,
     [](bool) { return openapi_operation("openapi", false, openapi_responses(openapi_json(kObject), false, {})); }},
};

}  // namespace

std::span<const Route> info_routes() { return kRoutes; }

}  // namespace quern
