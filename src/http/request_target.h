// The forms of a request target (RFC 9112 3.2) and what a Host may be. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace quern {

/// A target as the routes see it: path and query, or "*".
struct RequestTarget {
  std::string path_and_query;
  std::string authority;  // of an absolute target; it stands in for the Host field
  std::string error;      // not empty: the target is refused with 400, and why
};

/// Takes origin-form, absolute-form (http and https; scheme and authority are split off) and, for OPTIONS, "*".
RequestTarget parse_request_target(std::string_view method, std::string_view target);

/// uri-host [ ":" port ], or nothing: what a Host field may hold.
bool is_valid_host(std::string_view host);

}  // namespace quern
