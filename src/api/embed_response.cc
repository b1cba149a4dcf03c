#include "api/embed_response.h"

#include <cmath>

#include "api/base64.h"
#include "api/json_writer.h"

namespace quern {

namespace {

constexpr double kNormTolerance = 1e-3;
// Below this a cut vector has no direction left to normalise.
constexpr double kNormMin = 1e-6;

double squared_norm(std::span<const float> values) {
  double sums[4] = {};
  size_t i = 0;
  for (; i + 4 <= values.size(); i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) sums[lane] += static_cast<double>(values[i + lane]) * values[i + lane];
  }
  for (; i < values.size(); ++i) sums[0] += static_cast<double>(values[i]) * values[i];
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace

Result<void> check_vector(const Vector& vector, int32_t width, const std::string& what) {
  if (vector.values.size() != static_cast<size_t>(width)) {
    return internal_error("the model gave " + std::to_string(vector.values.size()) + " values instead of " +
                          std::to_string(width) + " for " + what);
  }
  // A NaN or an infinity anywhere makes the sum NaN or infinite: one pass checks both.
  const double norm = std::sqrt(squared_norm(vector.values));
  if (!std::isfinite(norm) || std::abs(norm - 1.0) > kNormTolerance) {
    return internal_error("the model gave a vector of norm " + std::to_string(norm) + " instead of 1 for " + what);
  }
  return {};
}

Result<void> cut_vector(Vector& vector, int32_t dimensions, bool normalize, const std::string& what) {
  if (static_cast<size_t>(dimensions) == vector.values.size()) return {};
  vector.values.resize(static_cast<size_t>(dimensions));
  if (!normalize) return {};
  const double norm = std::sqrt(squared_norm(vector.values));
  if (norm < kNormMin) {
    return internal_error("the first " + std::to_string(dimensions) + " values are all but zero for " + what);
  }
  for (float& value : vector.values) value = static_cast<float>(value / norm);
  return {};
}

int64_t embed_response_bytes(const EmbedRequest& request, size_t vectors) {
  const int64_t value_bytes = request.encoding_format == EncodingFormat::kBase64 ? 6 : 14;
  return static_cast<int64_t>(vectors) * (64 + request.dimensions * value_bytes) + 160;
}

std::string write_embed_response(const EmbedRequest& request, std::span<const Vector> vectors, int64_t tokens) {
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
