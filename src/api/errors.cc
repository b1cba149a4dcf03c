#include "api/errors.h"

#include <algorithm>
#include <string>

#include "api/json_writer.h"

namespace quern {

namespace {

std::string_view error_type(int status) {
  if (status == 401) return "authentication_error";
  if (status == 429) return "rate_limit_error";
  const bool of_the_client = status < 500 || status == 501 || status == 505;  // no later try of it will do better
  return of_the_client ? "invalid_request_error" : "server_error";
}

// The `code` field: what the OpenAI API says where it has a word, our own kind otherwise.
std::string_view openai_code(const Error& error) {
  if (error.code == ErrorCode::kUnauthenticated) return "invalid_api_key";
  if (error.code == ErrorCode::kNotFound) return error.param == "model" ? "model_not_found" : "not_found";
  return error_kind(error.code);
}

HttpResponse make_response(int status, std::string_view message, std::string_view param, std::string_view code) {
  HttpResponse response;
  response.status = status;
  std::string& out = response.body;
  out = "{\"error\":{\"message\":";
  append_json_string(out, message);
  out.append(",\"type\":");
  append_json_string(out, error_type(status));
  out.append(",\"param\":");
  if (param.empty()) {
    out.append("null");
  } else {
    append_json_string(out, param);
  }
  out.append(",\"code\":");
  append_json_string(out, code);
  out.append("}}");
  return response;
}

}  // namespace

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return 400;
    case ErrorCode::kUnauthenticated:
      return 401;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kMethodNotAllowed:
      return 405;
    case ErrorCode::kPayloadTooLarge:
      return 413;
    case ErrorCode::kOverloaded:
      return 429;
    case ErrorCode::kCancelled:
      return 499;
    case ErrorCode::kInternal:
      return 500;
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kDeadlineExceeded:
      return 504;
  }
  return 500;
}

std::string_view error_kind(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kUnauthenticated:
      return "unauthenticated";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kMethodNotAllowed:
      return "method_not_allowed";
    case ErrorCode::kPayloadTooLarge:
      return "payload_too_large";
    case ErrorCode::kOverloaded:
      return "overloaded";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kInternal:
      return "internal";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kDeadlineExceeded:
      return "deadline_exceeded";
  }
  return "internal";
}

HttpResponse error_response(const Error& error) {
  HttpResponse response = make_response(http_status(error.code), error.message, error.param, openai_code(error));
  if (error.code == ErrorCode::kOverloaded || error.code == ErrorCode::kUnavailable) {
    response.add_header("Retry-After", std::to_string(std::max(1, error.retry_after_s)));
  }
  if (error.code == ErrorCode::kUnauthenticated) response.add_header("WWW-Authenticate", "Bearer");
  return response;
}

HttpResponse transport_error_response(int status, std::string_view message) {
  std::string_view code = "bad_request";
  if (status == 408) code = "request_timeout";
  if (status == 413) code = "payload_too_large";
  if (status == 415) code = "unsupported_media_type";
  if (status == 417) code = "expectation_failed";
  if (status == 429) code = "overloaded";
  if (status == 431) code = "header_too_large";
  if (status == 500) code = "internal";
  if (status == 501) code = "not_implemented";
  if (status == 503) code = "unavailable";
  if (status == 505) code = "version_not_supported";
  return make_response(status, message, "", code);
}

}  // namespace quern
