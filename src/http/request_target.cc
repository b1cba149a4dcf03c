#include "http/request_target.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"
#include "base/excerpt.h"
#include "http/http_types.h"

namespace quern {

namespace {

// RFC 3986 reg-name; percent-encoded octets are not looked into. A table: each request's Host comes by here.
constexpr auto kHostCharacters = [] {
  std::array<bool, 256> table{};
  for (size_t c = 0; c < table.size(); ++c)
    table[c] = is_digit(static_cast<char>(c)) || is_letter(static_cast<char>(c));
  for (char c : std::string_view("-._~!$&'()*+,;=%")) table[static_cast<unsigned char>(c)] = true;
  return table;
}();
bool is_host_character(char c) { return kHostCharacters[static_cast<unsigned char>(c)]; }

RequestTarget refused(std::string_view target, std::string_view why) {
  RequestTarget result;
  result.error = "Malformed HTTP request: the target \"" + excerpt(target) + "\" " + std::string(why);
  return result;
}

// `rest` is what follows the "//".
RequestTarget parse_absolute(std::string_view method, std::string_view target, std::string_view rest) {
  const size_t authority_size = std::min(rest.find_first_of("/?"), rest.size());
  const std::string_view authority = rest.substr(0, authority_size);
  if (authority.empty() || authority[0] == ':' || !is_valid_host(authority)) {
    return refused(target, "has no valid host.");
  }
  RequestTarget result;
  result.authority = authority;
  result.path_and_query = rest.substr(authority_size);
  if (result.path_and_query.empty()) {
    result.path_and_query = method == "OPTIONS" ? "*" : "/";
  } else if (result.path_and_query[0] == '?') {
    result.path_and_query.insert(0, 1, '/');
  }
  return result;
}

}  // namespace

bool is_valid_host(std::string_view host) {
  size_t end = 0;
  if (!host.empty() && host[0] == '[') {
    end = host.find(']');
    if (end == std::string_view::npos || end == 1) return false;
    const std::string_view address = host.substr(1, end - 1);
    if (!std::all_of(address.begin(), address.end(), [](char c) { return c == ':' || is_host_character(c); })) {
      return false;
    }
    ++end;
  } else {
    while (end < host.size() && is_host_character(host[end])) ++end;
  }
  if (end == host.size()) return true;
  return host[end] == ':' && std::all_of(host.begin() + static_cast<std::ptrdiff_t>(end) + 1, host.end(), is_digit);
}

RequestTarget parse_request_target(std::string_view method, std::string_view target) {
  RequestTarget result;
  if (target.starts_with('/') || (target == "*" && method == "OPTIONS")) {
    result.path_and_query = target;
    return result;
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (equal_ignoring_case(target.substr(0, scheme.size()), scheme)) {
      return parse_absolute(method, target, target.substr(scheme.size()));
    }
  }
  return refused(target, "must be a path that starts with /, or a whole http:// URL; * is for OPTIONS alone.");
}

}  // namespace quern
