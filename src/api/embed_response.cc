#include "api/embed_response.h"

#include <cmath>

#include "api/base64.h"
#include "api/json_writer.h"

namespace quern {

Result<void> check_vector(const Output& vector, int32_t width, const std::string& what) {
  if (vector.values.size() != static_cast<size_t>(width)) {
    return internal_error("the model gave " + std::to_string(vector.values.size()) + " values instead of " +
                          std::to_string(width) + " for " + what);
  }
  if (!is_unit(vector.values)) {
    return internal_error("the model gave a vector of norm " + std::to_string(std::sqrt(squared_norm(vector.values))) +
                          " instead of 1 for " + what);
  }
  return {};
}

Result<void> cut_vector(Output& vector, int32_t dimensions, bool normalize, const std::string& what) {
  auto done = cut(vector.values, dimensions, normalize);
  return done ? done : internal_error(done.error().message + " for " + what);
}

int64_t embed_response_bytes(const EmbedRequest& request, size_t vectors) {
  const int64_t value_bytes = request.encoding_format == EncodingFormat::kBase64 ? 6 : 14;
  return static_cast<int64_t>(vectors) * (64 + request.dimensions * value_bytes) + 160;
}

std::string write_embed_response(const EmbedRequest& request, std::span<const Output> vectors, int64_t tokens) {
  std::string out;
  out.reserve(static_cast<size_t>(embed_response_bytes(request, vectors.size())));
  out.append("{\"object\":\"list\",\"data\":[");
  for (size_t i = 0; i < vectors.size(); ++i) {
    out.append(i == 0 ? "{\"object\":\"embedding\",\"index\":" : ",{\"object\":\"embedding\",\"index\":");
    append_json_integer(out, static_cast<int64_t>(i));
    out.append(",\"embedding\":");
    if (request.encoding_format == EncodingFormat::kBase64) {
      out.push_back('"');
      append_base64(out, vectors[i].values);
      out.push_back('"');
    } else {
      append_json_floats(out, vectors[i].values);
    }
    out.push_back('}');
  }
  out.append("],\"model\":");
  append_json_string(out, request.model);
  out.append(",\"usage\":{\"prompt_tokens\":");
  append_json_integer(out, tokens);
  out.append(",\"total_tokens\":");
  append_json_integer(out, tokens);
  out.append("}}");
  return out;
}

}  // namespace quern
