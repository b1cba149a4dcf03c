#include "api/openapi.h"

#include <string_view>
#include <utility>
#include <vector>

#include "api/json_writer.h"

namespace quern {

namespace {

// @NAME@ marks are filled from the config.
constexpr std::string_view kInfo = R"({
"openapi":"3.0.3",
"info":{"title":"Quern","version":@VERSION@,"description":"Text embeddings with Qwen3-Embedding models, OpenAI-shaped."},
"components":{
"securitySchemes":{"key":{"type":"http","scheme":"bearer"}},
"schemas":{
"Error":{"type":"object","required":["error"],"properties":{"error":{"type":"object","required":["message","type","param","code"],"properties":{
 "message":{"type":"string"},"type":{"type":"string"},"param":{"type":"string","nullable":true},"code":{"type":"string"}}}}},
"TokenIds":{"type":"array","minItems":1,"maxItems":@CONTEXT@,"items":{"type":"integer","minimum":0,"maximum":@VOCAB_LAST@}},
"Model":{"type":"object","required":["id","object","created","owned_by"],"properties":{
 "id":{"type":"string"},"object":{"type":"string","enum":["model"]},"created":{"type":"integer"},"owned_by":{"type":"string"},"max_model_len":{"type":"integer"}}},
)";

constexpr std::string_view kEmbedSchemas = R"(
"EmbedRequest":{"type":"object","required":["input"],"properties":{
 "input":{"description":"One text or several, or token ids of one text or of several. EOS is appended where it is missing.","anyOf":[
  {"type":"string","minLength":1},
  {"type":"array","minItems":1,"maxItems":@INPUTS@,"items":{"type":"string","minLength":1}},
  {"$ref":"#/components/schemas/TokenIds"},
  {"type":"array","minItems":1,"maxItems":@INPUTS@,"items":{"$ref":"#/components/schemas/TokenIds"}}]},
 "model":{"type":"string","nullable":true,"enum":@MODEL_ENUM@,"description":"A served name; absent: the first of /v1/models."},
 "encoding_format":{"type":"string","nullable":true,"enum":["float","base64",null],"description":"base64: little-endian float32."},
 "dimensions":{"type":"integer","nullable":true,"minimum":@DIMENSIONS_MIN@,"maximum":@WIDTH@,"description":"Cut to the first values, then normalised again."},
 "user":{"type":"string","nullable":true},
 "prompt_name":{"type":"string","nullable":true,"enum":@PROMPT_ENUM@,"description":"Not with instruction, nor with token ids."},
 "instruction":{"type":"string","nullable":true,"description":"Puts 'Instruct: {instruction}\\nQuery:' before each text. Not with prompt_name, nor with token ids."},
 "truncate":{"nullable":true,"anyOf":[{"type":"boolean"},{"type":"string","enum":["left","right"]}],"description":"Cut what is too long instead of refusing it; true: at the right."},
 "truncate_prompt_tokens":{"type":"integer","nullable":true,"minimum":1,"maximum":@CONTEXT@,"description":"Cut to that many tokens, EOS included."},
 "normalize":{"type":"boolean","nullable":true,"description":"false: do not normalise again after the cut to dimensions."},
 "priority":{"type":"integer","nullable":true,"minimum":-@PRIORITY@,"maximum":@PRIORITY@},
 "timeout_ms":{"type":"integer","nullable":true,"minimum":1,"maximum":@TIMEOUT@}}},
"EmbedResponse":{"type":"object","required":["object","data","model","usage"],"properties":{
 "object":{"type":"string","enum":["list"]},"model":{"type":"string"},
 "data":{"type":"array","items":{"type":"object","required":["object","index","embedding"],"properties":{
  "object":{"type":"string","enum":["embedding"]},"index":{"type":"integer"},
  "embedding":{"anyOf":[{"type":"array","items":{"type":"number"}},{"type":"string","description":"base64"}]}}}},
 "usage":{"type":"object","required":["prompt_tokens","total_tokens"],"properties":{"prompt_tokens":{"type":"integer"},"total_tokens":{"type":"integer"}}}}}
}},
"paths":{)";

// One answer of an operation: status and text; every answer but 200 is an Error.
std::string responses(std::string_view ok, std::initializer_list<std::pair<int, std::string_view>> errors) {
  std::string out = "\"responses\":{\"200\":{\"description\":\"OK\",\"content\":{";
  out.append(ok).append("}}");
  for (const auto& [status, text] : errors) {
    out.append(",\"").append(std::to_string(status)).append("\":{\"description\":");
    append_json_string(out, text);
    out.append(R"(,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Error"}}}})");
  }
  return out + "}";
}

std::string json_content(std::string_view schema) {
  return "\"application/json\":{\"schema\":" + std::string(schema) + "}";
}

std::string post_embeddings(std::string_view operation_id, std::string_view security) {
  const std::string answers = responses(json_content(R"({"$ref":"#/components/schemas/EmbedResponse"})"),
                                        {{400, "Invalid; the message says what, where and what is allowed"},
                                         {401, "API key missing or wrong"},
                                         {404, "Model not served"},
                                         {408, "The request did not arrive in time"},
                                         {413, "Body too large"},
                                         {429, "Overloaded; Retry-After says when to try again"},
                                         {500, "Internal error"},
                                         {503, "Not ready"},
                                         {504, "timeout_ms passed"}});
  return "{\"post\":{\"operationId\":\"" + std::string(operation_id) + "\"," + std::string(security) +
         R"("parameters":[{"name":"x-timeout-ms","in":"header","schema":{"type":"integer","minimum":1,"maximum":@TIMEOUT@}}],)"
         R"("requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/EmbedRequest"}}}},)" +
         answers + "}}";
}

std::string get(std::string_view operation_id, std::string_view extra, const std::string& answers) {
  return "{\"get\":{\"operationId\":\"" + std::string(operation_id) + "\"," + std::string(extra) + answers + "}}";
}

std::string paths(bool keys) {
  const std::string security = keys ? R"("security":[{"key":[]}],)" : "";
  const std::string object = json_content(R"({"type":"object"})");
  const auto guarded = [&](std::string_view ok) {
    return keys ? responses(ok, {{401, "API key missing or wrong"}}) : responses(ok, {});
  };
  std::string out;
  const auto add = [&out](std::string_view path, const std::string& item) {
    if (!out.empty()) out.append(",\n");
    out.append("\"").append(path).append("\":").append(item);
  };
  add("/v1/embeddings", post_embeddings("embed", security));
  add("/embeddings", post_embeddings("embedAlias", security));
  add("/v1/models",
      get("models", security,
          guarded(json_content(
              R"({"type":"object","required":["object","data"],"properties":{"object":{"type":"string"},"data":{"type":"array","items":{"$ref":"#/components/schemas/Model"}}}})"))));
  add("/v1/models/{id}",
      get("model",
          security +
              R"("parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string","minLength":1}}],)",
          responses(json_content(R"({"$ref":"#/components/schemas/Model"})"),
                    {{401, "API key missing or wrong"}, {404, "Model not served"}})));
  add("/health", get("health", "", responses(object, {})));
  add("/ready", get("ready", "", responses(object, {{503, "Not ready, or draining"}})));
  add("/info", get("info", security, guarded(object)));
  add("/metrics", get("metrics", "", responses(R"("text/plain":{"schema":{"type":"string"}})", {})));
  add("/openapi.json", get("openapi", "", responses(object, {})));
  return out;
}

void fill(std::string& text, std::string_view mark, const std::string& value) {
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size())) {
    text.replace(at, mark.size(), value);
  }
}

// ["a","b",null]
std::string enumeration(const std::vector<std::string>& names) {
  std::string out = "[";
  for (const auto& name : names) {
    append_json_string(out, name);
    out.push_back(',');
  }
  return out + "null]";
}

}  // namespace

std::string openapi_document(const ApiConfig& config) {
  std::string out = std::string(kInfo) + std::string(kEmbedSchemas) + paths(!config.api_keys.empty()) + "}}\n";
  std::vector<std::string> prompt_names;
  for (const auto& [name, text] : config.prompts) prompt_names.push_back(name);
  std::string version;
  append_json_string(version, config.version);
  fill(out, "@VERSION@", version);
  fill(out, "@CONTEXT@", std::to_string(config.context_tokens_max));
  fill(out, "@VOCAB_LAST@", std::to_string(config.vocab_tokens - 1));
  fill(out, "@INPUTS@", std::to_string(config.inputs_max));
  fill(out, "@DIMENSIONS_MIN@", std::to_string(config.dimensions_min));
  fill(out, "@WIDTH@", std::to_string(config.width));
  fill(out, "@PRIORITY@", std::to_string(config.priority_max));
  fill(out, "@TIMEOUT@", std::to_string(config.timeout_ms_max));
  fill(out, "@MODEL_ENUM@", enumeration(config.model_names));
  fill(out, "@PROMPT_ENUM@", enumeration(prompt_names));
  return out;
}

}  // namespace quern
