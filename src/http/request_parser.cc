#include "http/request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>

#include "base/ascii.h"
#include "base/excerpt.h"
#include "http/body_decoding.h"
#include "http/content_decoder.h"
#include "http/request_target.h"

namespace quern {

namespace http = boost::beast::http;

namespace {

// "0\r\n\r\n": every unfinished chunked body ends in at least that many unread bytes, and Beast 1.74 asserts that it is
// called with no fewer once it has seen the 0.
constexpr size_t kLastChunkBytes = 5;

constexpr const char* kOneHost = "Malformed HTTP request: it must have exactly one Host.";

std::string_view std_view(boost::beast::string_view text) { return {text.data(), text.size()}; }

void append_member(std::string& list, std::string_view value) {
  if (!list.empty()) list.push_back(',');
  list.append(value);
}

// Whether the request line that `bytes` begin with names a version of HTTP, and not one of ours. Anything else that
// stands there instead of a version is a malformed line.
bool names_other_version(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find_first_of("\r\n"));
  const std::string_view version = line.substr(line.rfind(' ') + 1);
  return version.size() == 8 && version.starts_with("HTTP/") && is_digit(version[5]) && version[6] == '.' &&
         is_digit(version[7]) && version != "HTTP/1.0" && version != "HTTP/1.1";
}

Refusal describe(const boost::beast::error_code& ec, const HttpServerConfig& config, std::string_view bytes) {
  if (ec == http::error::header_limit) {
    return {431, "The request head is larger than " + std::to_string(config.header_bytes_max) + " bytes."};
  }
  if (ec == http::error::body_limit) {
    return {413, "The request body is larger than " + std::to_string(config.body_bytes_max) + " bytes."};
  }
  if (ec == http::error::bad_version) {
    if (names_other_version(bytes)) return {505, "Only HTTP/1.0 and HTTP/1.1 are served here."};
    return {400, "Malformed HTTP request: the first line must be METHOD TARGET HTTP/1.1, with single spaces."};
  }
  if (ec == http::error::bad_transfer_encoding || ec == http::error::bad_content_length) {
    return {400,
            "Malformed HTTP request: one Content-Length, or one Transfer-Encoding with \"chunked\", but not both."};
  }
  return {400, "Malformed HTTP request: " + ec.message() + "."};
}

}  // namespace

int64_t request_bytes_max(const MemoryBudget& budget) { return budget.bytes_max() - budget.bytes_max() / 16; }

bool hold_for_request(MemoryBudget& budget, MemoryBudget::Lease& lease, int64_t bytes) {
  const int64_t more = bytes - lease.bytes();
  if (more > 0 && more > request_bytes_max(budget) - budget.used_bytes()) return false;
  return lease.resize(bytes);
}

Refusal budget_refusal(const MemoryBudget& budget, int64_t bytes_needed) {
  Error error = out_of_budget(budget.bytes_max(), bytes_needed, request_bytes_max(budget));
  return {error.code == ErrorCode::kPayloadTooLarge ? 413 : 429, std::move(error.message)};
}

RequestParser::RequestParser(const HttpServerConfig& config, MemoryBudget& budget) : config_(config), budget_(budget) {
  request_.lease = MemoryBudget::Lease(budget);
  header_limit(static_cast<uint32_t>(config.header_bytes_max));
  body_limit(static_cast<uint64_t>(config.body_bytes_max));
  eager(true);
}

size_t RequestParser::feed(std::string_view bytes) {
  if (bytes.empty() || (is_header_done() && chunked() && bytes.size() < kLastChunkBytes)) return 0;
  error_code ec;
  if (!is_header_done() && find_bare_lf(bytes)) {
    refuse(400, "Malformed HTTP request: a line ends in LF alone; lines end in CR LF.", ec);
    return 0;
  }
  const size_t used = put(boost::asio::buffer(bytes.data(), bytes.size()), ec);
  scanned_ -= std::min(scanned_, used);
  line_begin_ -= std::min(line_begin_, used);
  if (ec && ec != http::error::need_more && !refusal_) refusal_ = describe(ec, config_, bytes);
  return used;
}

// Beast would wait for a CR LF that never comes, or call it a bad version. Looks at the head's lines only.
bool RequestParser::find_bare_lf(std::string_view bytes) {
  for (size_t at; (at = bytes.find('\n', scanned_)) != std::string_view::npos;) {
    if (at == line_begin_ || bytes[at - 1] != '\r') return true;
    const bool end_of_head = at - 1 == line_begin_;
    if (end_of_head) return false;
    scanned_ = line_begin_ = at + 1;
  }
  scanned_ = bytes.size();
  return false;
}

bool RequestParser::take_expect_continue() { return std::exchange(expect_continue_, false); }

void RequestParser::refuse(int status, std::string message, error_code& ec) {
  refusal_ = Refusal{status, std::move(message)};
  ec = http::make_error_code(http::error::bad_value);
}

void RequestParser::on_request_impl(verb, string_view method_text, string_view target, int version, error_code& ec) {
  request_.version = version;
  const std::string_view method = std_view(method_text);
  if (method == "CONNECT") return refuse(501, "CONNECT is not served here: this is no proxy.", ec);
  RequestTarget parsed = parse_request_target(method, std_view(target));
  if (!parsed.error.empty()) return refuse(400, std::move(parsed.error), ec);
  authority_ = std::move(parsed.authority);
  request_.set_request_line(method, parsed.path_and_query);
}

void RequestParser::on_field_impl(field name, string_view name_text, string_view value_text, error_code& ec) {
  if (is_header_done()) return;  // a trailer: RFC 9110 6.5.1 forbids to take it for a header
  const std::string_view value = std_view(value_text);
  if (name == field::transfer_encoding) check_transfer_encoding(value, ec);
  if (name == field::host) {
    if (++hosts_ > 1) return refuse(400, kOneHost, ec);  // at once: each would cost an authority_
    if (!is_valid_host(value)) {
      return refuse(400, "Malformed HTTP request: \"" + excerpt(value) + "\" is no valid Host.", ec);
    }
    // RFC 9112 3.2.2: the host of an absolute target is the one that counts.
    if (!authority_.empty()) return request_.add_header("Host", authority_);
  }
  if (name == field::expect) append_member(expect_, value);
  if (name == field::content_encoding) append_member(content_encoding_, value);
  request_.add_header(std_view(name_text), value);
}

// Anything but a single "chunked" would leave us and a proxy with two ideas of where the body ends (RFC 9112 6.1, 6.3).
void RequestParser::check_transfer_encoding(std::string_view value, error_code& ec) {
  if (request_.version == 10) {
    return refuse(400, "Malformed HTTP request: HTTP/1.0 has no Transfer-Encoding.", ec);
  }
  if (equal_ignoring_case(value, "chunked")) return;
  const size_t comma = value.rfind(',');
  const bool chunked_last =
      comma != std::string_view::npos && equal_ignoring_case(trim_whitespace(value.substr(comma + 1)), "chunked");
  const std::string message = "Transfer-Encoding must be \"chunked\", not \"" + excerpt(value) + "\".";
  refuse(chunked_last ? 501 : 400, message, ec);
}

void RequestParser::on_header_impl(error_code& ec) {
  if (hosts_ == 0 && request_.version == 11) return refuse(400, kOneHost, ec);
  if (hosts_ == 0 && !authority_.empty()) request_.add_header("Host", authority_);
  request_.keep_alive = keep_alive();                  // now: a trailer must not change it
  if (request_.version == 11) check_expectations(ec);  // RFC 9110 10.1.1: 1.0 has no Expect
  if (!ec && (chunked() || content_length().value_or(0) > 0)) begin_body(ec);
  if (!ec && static_cast<int64_t>(request_.head_bytes()) > kUncountedBytes && !hold(0)) {
    ec = http::make_error_code(http::error::body_limit);
  }
}

void RequestParser::check_expectations(error_code& ec) {
  for (std::string_view rest = expect_; !rest.empty();) {
    const std::string_view item = next_list_item(rest);
    if (equal_ignoring_case(item, "100-continue")) {
      expect_continue_ = true;
    } else if (!item.empty()) {
      return refuse(417, "The expectation \"" + excerpt(item) + "\" cannot be met; only 100-continue can.", ec);
    }
  }
}

void RequestParser::begin_body(error_code& ec) {
  const ContentCoding coding = parse_content_coding(content_encoding_);
  if (coding == ContentCoding::kUnknown) {
    return refuse(415,
                  "Content-Encoding must be one of " + std::string(kContentCodings) + " or absent, not \"" +
                      excerpt(content_encoding_) + "\".",
                  ec);
  }
  request_.coding = coding;
  const auto declared = static_cast<int64_t>(content_length().value_or(0));
  if (declared > request_bytes_max(budget_)) {
    refusal_ = budget_refusal(budget_, declared);
  } else {
    (void)hold(0);
  }
  if (refusal_) ec = http::make_error_code(http::error::body_limit);
}

// Holds the head and `body_bytes`; refuses when that is not granted.
bool RequestParser::hold(size_t body_bytes) {
  const auto bytes = static_cast<int64_t>(request_.head_bytes() + body_bytes);
  if (hold_for_request(budget_, request_.lease, bytes)) return true;
  refusal_ = budget_refusal(budget_, bytes);
  return false;
}

bool RequestParser::append_body(std::string_view bytes) {
  std::string& body = request_.body;
  const size_t needed = body.size() + bytes.size();
  if (needed > static_cast<size_t>(config_.body_bytes_max)) {
    refusal_ = Refusal{413, "The request body is larger than " + std::to_string(config_.body_bytes_max) + " bytes."};
    return false;
  }
  size_t room_max = static_cast<size_t>(config_.body_bytes_max);
  if (content_length()) room_max = std::max(needed, static_cast<size_t>(*content_length()));
  if (!make_body_room(body, needed, room_max, [this](size_t room) { return hold(room); })) return false;
  body.append(bytes);
  return true;
}

size_t RequestParser::on_body_impl(string_view body, error_code& ec) {
  if (!append_body(std_view(body))) ec = http::make_error_code(http::error::body_limit);
  return body.size();
}

size_t RequestParser::on_chunk_body_impl(uint64_t, string_view body, error_code& ec) { return on_body_impl(body, ec); }

}  // namespace quern
