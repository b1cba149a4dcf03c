// RequestRecord: what is known about one request, for its log line, its metrics and its response headers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/route.h"
#include "base/result.h"
#include "http/http_types.h"

namespace quern {

struct RequestRecord {
  const Route* route = nullptr;  // a row of the table; never null once handled
  std::string id;
  std::string method;  // an excerpt, as path
  std::string path;
  std::string client_address;
  std::string_view cors_origin;  // what CORS answers it: see allowed_origin()
  std::string key_name;          // of the API key; empty: none
  int64_t received_us = 0;
  int64_t body_bytes = 0;
  int32_t inputs = 0;
  int64_t tokens = 0;
  int64_t tokenize_us = 0;
  int64_t queue_us = 0;
  int64_t compute_us = 0;
  std::optional<ErrorCode> error;  // none: it did not fail
  std::string error_message;
};

/// The client's x-request-id when it is sane (1..128 of letters, digits and "-_.:"), else 32 random hex digits.
std::string request_id_of(const HttpRequest& request);

/// Adds x-request-id, and for Calls server-timing and x-quern-tokens.
void add_record_headers(HttpResponse& response, const RequestRecord& record, int64_t now);

/// What logs and metrics call its failure; empty: none. The transport's failures have one name of their own.
std::string_view failure_kind(const RequestRecord& record);

/// One line in Elastic Common Schema: info, or warn for 5xx.
void log_request(const RequestRecord& record, int status, int64_t now) noexcept;

}  // namespace quern
