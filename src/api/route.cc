#include "api/route.h"

#include <algorithm>

#include "base/ascii.h"

namespace quern {

std::optional<std::string_view> match_path(const Route& route, std::string_view path) {
  // Each request's path is tried on every row; nearly all part within the first few characters.
  const auto alike = [](char of_route, char of_path) { return of_route == of_path && of_route != '{'; };
  const auto [in_route, in_path] = std::mismatch(route.path.begin(), route.path.end(), path.begin(), path.end(), alike);
  if (in_route == route.path.end()) {
    if (route.path.empty() || in_path != path.end()) return std::nullopt;
    return std::string_view();
  }
  if (*in_route != '{') return std::nullopt;
  const auto before = static_cast<size_t>(in_route - route.path.begin());
  const std::string_view after = route.path.substr(route.path.find('}') + 1);
  if (path.size() <= before + after.size() || !path.ends_with(after)) return std::nullopt;
  return path.substr(before, path.size() - before - after.size());
}

std::string percent_decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

HttpResponse json_response(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

}  // namespace quern
