#include "http/request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>

namespace quern {

namespace http = boost::beast::http;

namespace {

// simdjson reads past the end of a document; a body with room there needs no copy.
constexpr size_t kBodySlackBytes = 64;
// A declared length reserves at most this much before the bytes have come.
constexpr uint64_t kBodyReserveBytesMax = 1 << 20;

// "0\r\n\r\n": every unfinished chunked body ends in at least that many unread bytes, and Beast 1.74 asserts that it is
// called with no fewer once it has seen the 0.
constexpr size_t kLastChunkBytes = 5;

std::string_view std_view(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

RequestParser::RequestParser(int64_t header_bytes_max, int64_t body_bytes_max) {
  header_limit(static_cast<uint32_t>(header_bytes_max));
  body_limit(static_cast<uint64_t>(body_bytes_max));
  eager(true);
}

size_t RequestParser::feed(std::string_view bytes, boost::beast::error_code& ec) {
  if (bytes.empty() || (is_header_done() && chunked() && bytes.size() < kLastChunkBytes)) {
    ec = http::make_error_code(http::error::need_more);
    return 0;
  }
  return put(boost::asio::buffer(bytes.data(), bytes.size()), ec);
}

bool RequestParser::take_expect_continue() { return std::exchange(expect_continue_, false); }

void RequestParser::on_request_impl(verb, string_view method_text, string_view target, int version, error_code& ec) {
  if (version != 10 && version != 11) {
    ec = http::make_error_code(http::error::bad_version);
    return;
  }
  request_.version = version;
  request_.set_request_line(std_view(method_text), std_view(target));
}

void RequestParser::on_field_impl(field name, string_view name_text, string_view value, error_code& ec) {
  // Anything but a single "chunked" would leave us and a proxy with two ideas of where the body ends.
  if (name == field::transfer_encoding && !equal_ignoring_case(std_view(value), "chunked")) {
    ec = http::make_error_code(http::error::bad_transfer_encoding);
    return;
  }
  if (name == field::host) ++hosts_;
  if (name == field::expect && equal_ignoring_case(std_view(value), "100-continue")) expect_continue_ = true;
  request_.add_header(std_view(name_text), std_view(value));
}

void RequestParser::on_header_impl(error_code& ec) {
  // RFC 9112 3.2: an HTTP/1.1 request has exactly one Host.
  if (request_.version == 11 && hosts_ != 1) ec = http::make_error_code(http::error::bad_field);
}

void RequestParser::on_body_init_impl(boost::optional<uint64_t> const& content_length, error_code&) {
  if (content_length && *content_length > 0) {
    request_.body.reserve(static_cast<size_t>(std::min(*content_length, kBodyReserveBytesMax)) + kBodySlackBytes);
  }
}

size_t RequestParser::on_body_impl(string_view body, error_code&) {
  request_.body.append(body.data(), body.size());
  return body.size();
}

size_t RequestParser::on_chunk_body_impl(uint64_t, string_view body, error_code&) {
  request_.body.append(body.data(), body.size());
  return body.size();
}

Refusal describe_parse_error(const boost::beast::error_code& ec, const HttpServerConfig& config) {
  if (ec == http::error::header_limit) {
    return {431, "The request head is larger than " + std::to_string(config.header_bytes_max) + " bytes."};
  }
  if (ec == http::error::body_limit) {
    return {413, "The request body is larger than " + std::to_string(config.body_bytes_max) + " bytes."};
  }
  if (ec == http::error::bad_version) return {505, "Only HTTP/1.0 and HTTP/1.1 are served here."};
  if (ec == http::error::bad_field) return {400, "Malformed HTTP request: bad header field, or not exactly one Host."};
  if (ec == http::error::bad_transfer_encoding) {
    return {400, "Malformed HTTP request: Transfer-Encoding must be \"chunked\", without Content-Length."};
  }
  return {400, "Malformed HTTP request: " + ec.message() + "."};
}

}  // namespace quern
