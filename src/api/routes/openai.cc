// OpenAI's embeddings, at every address under which clients look for them.
#include "api/openapi.h"
#include "api/routes/openai_codec.h"
#include "api/routes/routes.h"

namespace quern {

namespace {

constexpr std::string_view kSchemas = R"(
"TokenIds":{"type":"array","minItems":1,"maxItems":@CONTEXT@,"items":{"type":"integer","minimum":0,"maximum":@VOCAB_LAST@}},
"EmbedRequest":{"type":"object","required":["input"],"properties":{
 "input":{"description":"One text or several, or token ids of one text or of several. Ids must come from this model's tokenizer; EOS is appended where it is missing.","anyOf":[
  {"type":"string","minLength":1},
  {"type":"array","minItems":1,"maxItems":@INPUTS@,"items":{"type":"string","minLength":1}},
  {"$ref":"#/components/schemas/TokenIds"},
  {"type":"array","minItems":1,"maxItems":@INPUTS@,"items":{"$ref":"#/components/schemas/TokenIds"}}]},
 "model":{"type":"string","nullable":true,@MODEL_ENUM@"description":"A served name; absent: the first of /v1/models."},
 "encoding_format":{"type":"string","nullable":true,"enum":["float","base64",null],"description":"base64: little-endian float32."},
 "dimensions":{"type":"integer","nullable":true,"minimum":@DIMENSIONS_MIN@,"maximum":@WIDTH@,"description":"Cut to the first values, then normalised again."},
 "user":{"type":"string","nullable":true},
 "prompt_name":{"type":"string","nullable":true,@PROMPT_ENUM@"description":"Not with instruction, input_type or token ids."},
 "instruction":{"type":"string","nullable":true,"description":"Puts 'Instruct: {instruction}\\nQuery:' before each text. Not with prompt_name, input_type or token ids."},
 "input_type":{"type":"string","nullable":true,"enum":["query","search_query","passage","document","search_document",null],"description":"The prompt 'query', or 'document', by the name that NVIDIA's and Cohere's clients have for it."},
 "truncate":{"nullable":true,"anyOf":[{"type":"boolean"},{"type":"string","enum":["left","right","NONE","START","END"]}],"description":"Cut what is too long instead of refusing it; true: at the right. At the left, prompt and text are cut as one, the prompt first. NONE, START and END (in any case) are NVIDIA's words."},
 "truncate_prompt_tokens":{"type":"integer","nullable":true,"minimum":-1,"maximum":@CONTEXT@,"description":"Cut to that many tokens, EOS included; -1: to the model's limit. Not 0."},
 "normalize":{"type":"boolean","nullable":true,"description":"false: do not normalise again after the cut to dimensions."},
 "priority":{"type":"integer","nullable":true,"minimum":-@PRIORITY@,"maximum":@PRIORITY@,"description":"More counts as the most that the API key allows."},
 "timeout_ms":{"type":"integer","nullable":true,"minimum":1,"maximum":@TIMEOUT@}}},
"EmbedResponse":{"type":"object","required":["object","data","model","usage"],"properties":{
 "object":{"type":"string","enum":["list"]},"model":{"type":"string"},
 "data":{"type":"array","items":{"type":"object","required":["object","index","embedding"],"properties":{
  "object":{"type":"string","enum":["embedding"]},"index":{"type":"integer"},
  "embedding":{"anyOf":[{"type":"array","items":{"type":"number"}},{"type":"string","description":"base64"}]}}}},
 "usage":{"type":"object","required":["prompt_tokens","total_tokens"],"properties":{"prompt_tokens":{"type":"integer"},"total_tokens":{"type":"integer"}}}}}
)";

constexpr std::string_view kTimeoutParameter =
    R"({"name":"x-timeout-ms","in":"header","schema":{"type":"integer","minimum":1,"maximum":@TIMEOUT@}})";
constexpr std::string_view kDeploymentParameter =
    R"(,{"name":"deployment","in":"path","required":true,"schema":{"type":"string","minLength":1}})";
constexpr std::string_view kBody =
    R"("requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/EmbedRequest"}}}},)";

std::string embed_operation(bool guarded, std::string_view id, std::string_view path_parameter) {
  std::string parts = "\"parameters\":[";
  parts.append(kTimeoutParameter).append(path_parameter).append("],").append(kBody);
  parts.append(openapi_responses(openapi_json(R"({"$ref":"#/components/schemas/EmbedResponse"})"), guarded,
                                 {{400, "Invalid; the message says what, where and what is allowed"},
                                  {404, "Model not served"},
                                  {408, "The request did not arrive in time"},
                                  {413, "Body too large, or more than the server can ever take"},
                                  {429, "Overloaded; Retry-After says when to try again"},
                                  {500, "Internal error"},
                                  {503, "Not ready"},
                                  {504, "timeout_ms passed"}}));
  return openapi_operation(id, guarded, parts);
}

constexpr std::string_view kName = "embeddings";

const Route kRoutes[] = {
    {"POST", "/v1/embeddings", kName, Access::kKey, &kOpenaiCodec, nullptr,
     [](bool guarded) { return embed_operation(guarded, "embed", ""); }},
    {"POST", "/embeddings", kName, Access::kKey, &kOpenaiCodec, nullptr,
     [](bool guarded) { return embed_operation(guarded, "embedAlias", ""); }},
    {"POST", "/openai/v1/embeddings", kName, Access::kKey, &kOpenaiCodec, nullptr,
     [](bool guarded) { return embed_operation(guarded, "embedAzure", ""); }},
    {"POST", "/openai/deployments/{deployment}/embeddings", kName, Access::kKey, &kOpenaiCodec, nullptr,
     [](bool guarded) { return embed_operation(guarded, "embedDeployment", kDeploymentParameter); }},
};

}  // namespace

std::span<const Route> openai_routes() { return kRoutes; }

std::string_view openai_schemas() { return kSchemas; }

}  // namespace quern
