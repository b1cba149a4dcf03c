#include "api/auth.h"

#include <string_view>

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

Error unauthenticated(const char* message) { return Error{ErrorCode::kUnauthenticated, message, "", 0}; }

Result<std::string_view> shown_key(const HttpRequest& request) {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view authorization = request.header("authorization");
  if (authorization.empty()) {
    const std::string_view azure = request.header("api-key");
    if (!azure.empty()) return azure;
    return unauthenticated("No API key given; send the header 'Authorization: Bearer KEY' or 'api-key: KEY'.");
  }
  if (!equal_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) {
    return unauthenticated("The Authorization header must be 'Bearer KEY'.");
  }
  return authorization.substr(kScheme.size());
}

}  // namespace

Result<const ApiKey*> authenticate(const HttpRequest& request, const std::vector<ApiKey>& keys) {
  const ApiKey* found = nullptr;
  if (keys.empty()) return found;
  const auto given = shown_key(request);
  if (!given) return given.error();
  for (const ApiKey& key : keys) {
    if (equal_in_constant_time(*given, key.key)) found = &key;
  }
  if (found == nullptr) return unauthenticated("The API key is not valid.");
  return found;
}

}  // namespace quern
