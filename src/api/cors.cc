#include "api/cors.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/excerpt.h"

namespace quern {

namespace {

constexpr std::string_view kFlag = "--cors-origin";

template <typename Allowed>
bool all_of(std::string_view text, Allowed allowed) {
  return !text.empty() && std::all_of(text.begin(), text.end(), allowed);
}

bool is_scheme(std::string_view text) {
  return all_of(text, [](char c) { return is_letter(c) || is_digit(c) || c == '+' || c == '-' || c == '.'; }) &&
         is_letter(text.front());
}

bool is_host(std::string_view text) {
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    return all_of(text.substr(1, text.size() - 2),
                  [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || c == ':' || c == '.'; });
  }
  return all_of(text, [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_'; });
}

bool is_port(std::string_view text) { return parse_integer(text, 1, 65535) && text.front() != '0'; }

// "HTTPS://Example.org:443/" -> "https://example.org"; empty: not an origin.
std::string normal_origin(std::string_view given) {
  std::string text = to_lower(given);
  if (text.ends_with('/') && !text.ends_with("//")) text.pop_back();
  const size_t scheme_end = text.find("://");
  if (scheme_end == std::string::npos) return "";
  const std::string_view scheme = std::string_view(text).substr(0, scheme_end);
  const std::string_view authority = std::string_view(text).substr(scheme_end + 3);
  // The colon of a port stands after the brackets of an IPv6 address.
  const size_t bracket = authority.find(']');
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view host = authority.substr(0, colon);
  if (!is_scheme(scheme) || !is_host(host)) return "";
  if (colon == std::string_view::npos) return text;
  const std::string_view port = authority.substr(colon + 1);
  if (!is_port(port)) return "";
  const bool is_default = (scheme == "http" && port == "80") || (scheme == "https" && port == "443");
  return is_default ? text.substr(0, scheme_end + 3 + colon) : text;
}

}  // namespace

Result<std::vector<std::string>> parse_cors_origins(const std::vector<std::string>& given) {
  std::vector<std::string> origins;
  for (const std::string& text : given) {
    std::string origin = text == "*" ? text : normal_origin(text);
    if (origin.empty()) {
      return invalid_argument(
          std::string(kFlag) + ": \"" + excerpt(text) +
              "\" is no origin; allowed: SCHEME://HOST or SCHEME://HOST:PORT without a path, such as "
              "https://example.org or http://localhost:3000, or * for any",
          std::string(kFlag));
    }
    if (std::find(origins.begin(), origins.end(), origin) == origins.end()) origins.push_back(std::move(origin));
  }
  if (origins.size() > 1 && std::find(origins.begin(), origins.end(), "*") != origins.end()) {
    return invalid_argument(std::string(kFlag) + ": * allows any origin, and stands alone", std::string(kFlag));
  }
  return origins;
}

std::string_view allowed_origin(const std::vector<std::string>& allowed, std::string_view origin) {
  for (const std::string& known : allowed) {
    if (known == "*" || known == origin) return known;
  }
  return {};
}

void add_cors(HttpResponse& response, const std::vector<std::string>& allowed, std::string_view answered) {
  if (allowed.empty()) return;
  if (allowed.front() != "*") response.add_header("Vary", "Origin");  // also where this origin got nothing
  if (answered.empty()) return;
  response.add_header("Access-Control-Allow-Origin", answered);
  response.add_header("Access-Control-Expose-Headers", "x-request-id, server-timing, x-quern-tokens, retry-after");
}

void add_preflight(HttpResponse& response, const HttpRequest& request, std::string_view methods) {
  response.add_header("Access-Control-Allow-Methods", methods);
  const std::string_view wanted = request.header("access-control-request-headers");
  response.add_header("Access-Control-Allow-Headers", wanted.empty() ? "authorization, content-type" : wanted);
  response.add_header("Access-Control-Max-Age", "86400");
  // Chrome asks before a public page may call a server in a private network.
  if (equal_ignoring_case(request.header("access-control-request-private-network"), "true")) {
    response.add_header("Access-Control-Allow-Private-Network", "true");
  }
}

}  // namespace quern
