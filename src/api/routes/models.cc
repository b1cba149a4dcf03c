// The models, and one of them, beside every address under which clients look for embeddings.
#include "api/json_writer.h"
#include "api/openapi.h"
#include "api/routes/routes.h"
#include "base/excerpt.h"

namespace quern {

namespace {

constexpr std::string_view kSchemas = R"(
"Model":{"type":"object","required":["id","object","created","owned_by"],"properties":{
 "id":{"type":"string"},"object":{"type":"string","enum":["model"]},"created":{"type":"integer"},"owned_by":{"type":"string"},"max_model_len":{"type":"integer"}}}
)";

void append_model(std::string& out, const ServedModel& model, std::string_view name) {
  out.append("{\"id\":");
  append_json_string(out, name);
  out.append(",\"object\":\"model\",\"created\":");
  append_json_integer(out, model.created_s);
  out.append(",\"owned_by\":\"quern\",\"max_model_len\":");
  append_json_integer(out, model.context_tokens_max);
  out.append("}");
}

Result<HttpResponse> list_models(const RouteContext& context, std::string_view) {
  std::string out = "{\"object\":\"list\",\"data\":[";
  bool first = true;
  for (const auto& [name, model] : context.models.names()) {
    if (!first) out.push_back(',');
    first = false;
    append_model(out, *model, name);
  }
  return json_response(out + "]}");
}

Result<HttpResponse> show_model(const RouteContext& context, std::string_view variable) {
  const std::string name = percent_decode(variable);
  const ServedModel* model = context.models.find(name);  // as a request would find it
  if (model == nullptr) {
    return Error{ErrorCode::kNotFound, "The model '" + excerpt(name) + "' does not exist; see /v1/models.", "model", 0};
  }
  std::string out;
  append_model(out, *model, name);
  return json_response(std::move(out));
}

std::string list_operation(bool guarded, std::string_view id) {
  return openapi_operation(
      id, guarded,
      openapi_responses(
          openapi_json(
              R"({"type":"object","required":["object","data"],"properties":{"object":{"type":"string"},"data":{"type":"array","items":{"$ref":"#/components/schemas/Model"}}}})"),
          guarded, {}));
}

std::string show_operation(bool guarded, std::string_view id) {
  constexpr std::string_view kParameters =
      R"("parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string","minLength":1}}],)";
  return openapi_operation(
      id, guarded,
      std::string(kParameters) + openapi_responses(openapi_json(R"({"$ref":"#/components/schemas/Model"})"), guarded,
                                                   {{404, "Model not served"}}));
}

constexpr std::string_view kName = "models";

const Route kRoutes[] = {
    {"GET", "/v1/models", kName, Access::kKey, nullptr, list_models,
     [](bool guarded) { return list_operation(guarded, "models"); }},
    {"GET", "/v1/models/{id}", kName, Access::kKey, nullptr, show_model,
     [](bool guarded) { return show_operation(guarded, "model"); }},
    {"GET", "/models", kName, Access::kKey, nullptr, list_models,
     [](bool guarded) { return list_operation(guarded, "modelsAlias"); }},
    {"GET", "/models/{id}", kName, Access::kKey, nullptr, show_model,
     [](bool guarded) { return show_operation(guarded, "modelAlias"); }},
    {"GET", "/openai/v1/models", kName, Access::kKey, nullptr, list_models,
     [](bool guarded) { return list_operation(guarded, "modelsAzure"); }},
    {"GET", "/openai/v1/models/{id}", kName, Access::kKey, nullptr, show_model,
     [](bool guarded) { return show_operation(guarded, "modelAzure"); }},
    {"GET", "/openai/models", kName, Access::kKey, nullptr, list_models,
     [](bool guarded) { return list_operation(guarded, "modelsAzureRoot"); }},
    {"GET", "/openai/models/{id}", kName, Access::kKey, nullptr, show_model,
     [](bool guarded) { return show_operation(guarded, "modelAzureRoot"); }},
};

}  // namespace

std::span<const Route> model_routes() { return kRoutes; }

std::string_view model_schemas() { return kSchemas; }

}  // namespace quern
