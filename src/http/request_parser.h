// RequestParser: bytes in, one HttpRequest out, over Beast's parser. One per request; used by one connection's io
// thread.
#pragma once

#include <boost/beast/core/error.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <cstdint>
#include <string>

#include "http/http_config.h"
#include "http/http_types.h"

namespace quern {

class RequestParser : public boost::beast::http::basic_parser<true> {
 public:
  RequestParser(int64_t header_bytes_max, int64_t body_bytes_max);

  /// Takes what it can of `bytes`, which start where the last call stopped; returns how many. `ec` is need_more when it
  /// wants more.
  size_t feed(std::string_view bytes, boost::beast::error_code& ec);
  HttpRequest& request() { return request_; }
  /// True once, when the client waits for "100 Continue" before it sends the body.
  bool take_expect_continue();

 private:
  using error_code = boost::beast::error_code;
  using string_view = boost::beast::string_view;
  using verb = boost::beast::http::verb;
  using field = boost::beast::http::field;

  void on_request_impl(verb method, string_view method_text, string_view target, int version, error_code& ec) override;
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_field_impl(field name, string_view name_text, string_view value, error_code& ec) override;
  void on_header_impl(error_code& ec) override;
  void on_body_init_impl(boost::optional<uint64_t> const& content_length, error_code& ec) override;
  size_t on_body_impl(string_view body, error_code& ec) override;
  void on_chunk_header_impl(uint64_t, string_view, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t remain, string_view body, error_code& ec) override;
  void on_finish_impl(error_code&) override {}

  HttpRequest request_;
  int hosts_ = 0;
  bool expect_continue_ = false;
};

/// What a parse error means to the client.
struct Refusal {
  int status = 400;
  std::string message;
};
Refusal describe_parse_error(const boost::beast::error_code& ec, const HttpServerConfig& config);

}  // namespace quern
