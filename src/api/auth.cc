#include "api/auth.h"

#include "http/http_types.h"

namespace quern {

namespace {

bool equal_in_constant_time(std::string_view given, std::string_view key) {
  unsigned difference = given.size() == key.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    difference |=
        static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key.empty() ? 0 : key[i % key.size()]);
  }
  return difference == 0;
}

}  // namespace

Result<std::string> authenticate(std::string_view authorization, const std::vector<ApiKey>& keys) {
  if (keys.empty()) return std::string();
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.empty()) {
    return Error{ErrorCode::kUnauthenticated, "No API key given; send the header 'Authorization: Bearer KEY'.", "", 0};
  }
  if (!equal_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) {
    return Error{ErrorCode::kUnauthenticated, "The Authorization header must be 'Bearer KEY'.", "", 0};
  }
  const std::string_view given = authorization.substr(kScheme.size());
  const ApiKey* found = nullptr;
  for (const ApiKey& key : keys) {
    if (equal_in_constant_time(given, key.key)) found = &key;
  }
  if (!found) return Error{ErrorCode::kUnauthenticated, "The API key is not valid.", "", 0};
  return found->tenant;
}

}  // namespace quern
