// Route: one row of the table of routes; all that differs between two routes is in their rows.
//
// The table is made once and never changes. Metrics and logs know a request by its row.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "api/codec.h"
#include "observe/metrics.h"

namespace quern {

enum class Access { kOpen, kKey };

/// What a route's answer may look at.
struct RouteContext {
  const ApiConfig& config;
  const Models& models;
  const std::function<Result<void>()>& ready;  // success when requests can be served; otherwise why not
  Metrics& metrics;
  const std::string& openapi;
};

struct Route {
  std::string_view method;  // "GET" stands for HEAD too
  std::string_view path;    // one "{name}" in it stands for any text; empty: matches no request
  std::string_view name;    // in metrics and logs; rows may share one
  Access access = Access::kOpen;
  const Codec* codec = nullptr;  // set: a Call answers
  Result<HttpResponse> (*answer)(const RouteContext& context, std::string_view variable) = nullptr;  // else this
  /// Its OpenAPI operation object, with @MARKS@. `guarded`: it asks for a key, since there are keys.
  std::string (*operation)(bool guarded) = nullptr;
};

/// What stood in the place of "{name}" (empty where the path has none); nothing when the path is another one.
std::optional<std::string_view> match_path(const Route& route, std::string_view path);

/// "%2F" -> "/": model names hold slashes, and clients escape them. A bad escape stays as it is.
std::string percent_decode(std::string_view text);

/// 200 with a JSON body.
HttpResponse json_response(std::string body);

}  // namespace quern
