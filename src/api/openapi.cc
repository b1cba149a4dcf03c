#include "api/openapi.h"

#include <string_view>
#include <vector>

#include "api/json_writer.h"
#include "api/routes/routes.h"
#include "base/ascii.h"

namespace quern {

namespace {

// @NAME@ marks are filled from the limits and the default model.
constexpr std::string_view kHead = R"({
"openapi":"3.0.3",
"info":{"title":"Quern","version":@VERSION@,"description":"Text embeddings with Qwen3-Embedding models, OpenAI-shaped."},
"components":{
"securitySchemes":{"key":{"type":"http","scheme":"bearer"},"azure":{"type":"apiKey","in":"header","name":"api-key"}},
"schemas":{
"Error":{"type":"object","required":["error"],"properties":{"error":{"type":"object","required":["message","type","param","code"],"properties":{
 "message":{"type":"string"},"type":{"type":"string"},"param":{"type":"string","nullable":true},"code":{"type":"string"}}}}},
)";

void fill(std::string& text, std::string_view mark, const std::string& value) {
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size())) {
    text.replace(at, mark.size(), value);
  }
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

// "enum":["a","b",null],
std::string enumeration(const std::vector<std::string>& names) {
  std::string out = "\"enum\":[";
  for (const auto& name : names) out.append(json_string(name)).append(",");
  return out + "null],";
}

std::string paths(const ApiConfig& config) {
  std::string out;
  std::string_view open_path;
  for (const Route& route : all_routes()) {
    if (route.operation == nullptr) continue;
    if (route.path != open_path) {
      out.append(out.empty() ? "" : "},\n").append(json_string(route.path)).append(":{");
    } else {
      out.append(",");
    }
    open_path = route.path;
    out.append(json_string(to_lower(route.method)))
        .append(":")
        .append(route.operation(route.access == Access::kKey && !config.api_keys.empty()));
  }
  return out + "}";
}

}  // namespace

std::string openapi_responses(std::string_view ok_content, bool guarded,
                              std::initializer_list<std::pair<int, std::string_view>> errors) {
  std::string out = "\"responses\":{\"200\":{\"description\":\"OK\",\"content\":{";
  out.append(ok_content).append("}}");
  const auto add = [&out](int status, std::string_view text) {
    out.append(",\"").append(std::to_string(status)).append("\":{\"description\":").append(json_string(text));
    out.append(R"(,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Error"}}}})");
  };
  if (guarded) add(401, "API key missing or wrong");
  for (const auto& [status, text] : errors) add(status, text);
  return out + "}";
}

std::string openapi_json(std::string_view schema) {
  return "\"application/json\":{\"schema\":" + std::string(schema) + "}";
}

std::string openapi_operation(std::string_view id, bool guarded, std::string_view parts) {
  std::string out = "{\"operationId\":" + json_string(id) + ",";
  if (guarded) out.append(R"("security":[{"key":[]},{"azure":[]}],)");
  return out.append(parts).append("}");
}

std::string openapi_document(const ApiConfig& config, const Models& models) {
  const ServedModel& model = models.default_model();
  std::string out(kHead);
  out.append(model_schemas()).append(",").append(openai_schemas()).append("}},\n\"paths\":{");
  out.append(paths(config)).append("}}\n");
  std::vector<std::string> names;
  for (const auto& [name, served] : models.names()) names.push_back(name);
  std::vector<std::string> prompt_names;
  for (const auto& [name, text] : model.prompts) prompt_names.push_back(name);
  fill(out, "@VERSION@", json_string(config.version));
  fill(out, "@CONTEXT@", std::to_string(model.context_tokens_max));
  fill(out, "@VOCAB_LAST@", std::to_string(model.vocab_tokens - 1));
  fill(out, "@INPUTS@", std::to_string(config.inputs_max));
  fill(out, "@DIMENSIONS_MIN@", std::to_string(config.dimensions_min));
  fill(out, "@WIDTH@", std::to_string(model.width));
  fill(out, "@PRIORITY@", std::to_string(config.priority_max));
  fill(out, "@TIMEOUT@", std::to_string(config.timeout_ms_max));
  fill(out, "@MODEL_ENUM@", models.takes_any_name() ? "" : enumeration(names));
  fill(out, "@PROMPT_ENUM@", enumeration(prompt_names));
  return out;
}

}  // namespace quern
