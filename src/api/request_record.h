// RequestRecord: what is known about one request, for its log line, its metrics and its response headers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "http/http_types.h"

namespace quern {

/// Routes, as metrics and logs name them. kOther: unknown paths; kTransport: refused before there was a path.
enum class Route {
  kEmbeddings,
  kModels,
  kHealth,
  kReady,
  kInfo,
  kMetrics,
  kOpenapi,
  kOther,
  kTransport,
};
constexpr int kRouteCount = static_cast<int>(Route::kTransport) + 1;
std::string_view route_name(Route route);

struct RequestRecord {
  Route route = Route::kOther;
  std::string id;
  std::string method;
  std::string path;
  std::string client_address;
  std::string tenant;
  int64_t received_us = 0;
  int64_t body_bytes = 0;
  int32_t inputs = 0;
  int64_t tokens = 0;
  int64_t tokenize_us = 0;
  int64_t queue_us = 0;
  int64_t compute_us = 0;
  std::string_view error_kind;  // empty: none; always one of a fixed set
  std::string error_message;
};

/// The client's x-request-id when it is sane (1..128 of letters, digits and "-_.:"), else 32 random hex digits.
std::string request_id_of(const HttpRequest& request);

/// Adds x-request-id, and for embeddings server-timing and x-quern-tokens.
void add_record_headers(HttpResponse& response, const RequestRecord& record, int64_t now);

/// One line in Elastic Common Schema: info, or warn for 5xx.
void log_request(const RequestRecord& record, int status, int64_t now);

}  // namespace quern
