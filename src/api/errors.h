// Errors as clients see them: ErrorCode -> HTTP status, and the OpenAI-shaped body. Pure functions.
#pragma once

#include <string_view>

#include "base/result.h"
#include "http/http_types.h"

namespace quern {

/// How many ErrorCodes there are.
constexpr int kErrorCodeCount = static_cast<int>(ErrorCode::kDeadlineExceeded) + 1;

/// The one place that maps codes to statuses.
int http_status(ErrorCode code);

/// Short stable name for logs and metrics: "invalid_argument", "overloaded", ...
std::string_view error_kind(ErrorCode code);

/// {"error":{"message","type","param","code"}} with the status, and Retry-After where a retry makes sense.
HttpResponse error_response(const Error& error);

/// The same for what the transport refuses by itself, which adds the headers.
HttpResponse transport_error_response(int status, std::string_view message);

}  // namespace quern
