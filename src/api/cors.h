// CORS: which browser pages may call, and the headers that tell the browser so. Pure functions; any thread.
//
// Source: https://fetch.spec.whatwg.org/#http-cors-protocol, https://wicg.github.io/private-network-access/
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/http_types.h"

namespace quern {

/// Origins as browsers send them ("https://example.org", "http://localhost:3000"), from what a person wrote: case,
/// one slash at the end and a scheme's own port do not matter, none stays twice. "*" alone stands for all. Anything
/// else is refused, since it would never match.
Result<std::vector<std::string>> parse_cors_origins(const std::vector<std::string>& given);

/// What Access-Control-Allow-Origin answers a page of `origin`: "*", or the origin itself (a view into `allowed`);
/// empty where it is not allowed.
std::string_view allowed_origin(const std::vector<std::string>& allowed, std::string_view origin);

/// For every answer: `answered` is the request's allowed_origin().
void add_cors(HttpResponse& response, const std::vector<std::string>& allowed, std::string_view answered);

/// For the answer to a preflight of an allowed origin: `methods` are those of its path.
void add_preflight(HttpResponse& response, const HttpRequest& request, std::string_view methods);

}  // namespace quern
