#include "api/route.h"

#include "base/ascii.h"

namespace quern {

std::optional<std::string_view> match_path(const Route& route, std::string_view path) {
  const size_t open = route.path.find('{');
  if (open == std::string_view::npos) {
    if (route.path.empty() || route.path != path) return std::nullopt;
    return std::string_view();
  }
  const std::string_view before = route.path.substr(0, open);
  const std::string_view after = route.path.substr(route.path.find('}') + 1);
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after)) {
    return std::nullopt;
  }
  return path.substr(before.size(), path.size() - before.size() - after.size());
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
