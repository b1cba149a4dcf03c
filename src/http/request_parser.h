// RequestParser: bytes in, one HttpRequest out, over Beast's parser; what the standards refuse, it refuses.
//
// Memory: head and body are leased from the budget before they grow, by capacity; the lease goes with the request. A
// head of up to kUncountedBytes without a body needs none, so that probes are answered when the budget is spent. One
// parser per request; used by one connection's io thread.
#pragma once

#include <boost/beast/core/error.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "base/memory_budget.h"
#include "http/http_config.h"
#include "http/http_types.h"

namespace quern {

/// What one connection may hold without a lease: a small head, a small read-ahead.
constexpr int64_t kUncountedBytes = 4096;

/// Takes `lease` to `bytes` for a request; false when that is not granted. Requests get all but a sixteenth of the
/// budget: the answers to those that were let in, and to probes, still find room.
bool hold_for_request(MemoryBudget& budget, MemoryBudget::Lease& lease, int64_t bytes);
int64_t request_bytes_max(const MemoryBudget& budget);

/// Why a request is not taken, and with which status.
struct Refusal {
  int status = 400;
  std::string message;
};
Refusal budget_refusal(const MemoryBudget& budget, int64_t bytes_needed);

class RequestParser : private boost::beast::http::basic_parser<true> {
 public:
  RequestParser(const HttpServerConfig& config, MemoryBudget& budget);

  enum class State { kNeedsMore, kDone, kRefused };
  /// Takes what it can of `bytes`, which start where the last call stopped; returns how many. Not after it is done or
  /// refused.
  size_t feed(std::string_view bytes);
  State state() const { return refusal_ ? State::kRefused : is_done() ? State::kDone : State::kNeedsMore; }
  bool has_head() const { return is_header_done(); }
  const Refusal& refusal() const { return *refusal_; }
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
  void on_body_init_impl(boost::optional<uint64_t> const&, error_code&) override {}
  size_t on_body_impl(string_view body, error_code& ec) override;
  void on_chunk_header_impl(uint64_t, string_view, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t remain, string_view body, error_code& ec) override;
  void on_finish_impl(error_code&) override {}

  bool find_bare_lf(std::string_view bytes);
  void refuse(int status, std::string message, error_code& ec);
  void check_transfer_encoding(std::string_view value, error_code& ec);
  void check_expectations(error_code& ec);
  void begin_body(error_code& ec);
  bool append_body(std::string_view bytes);
  bool hold(size_t body_bytes);

  const HttpServerConfig& config_;
  MemoryBudget& budget_;
  HttpRequest request_;
  std::optional<Refusal> refusal_;
  std::string authority_;         // of an absolute target
  std::string content_encoding_;  // fields of one name, joined by commas
  std::string expect_;
  int hosts_ = 0;
  bool expect_continue_ = false;
  // Of the bytes of the next feed(): where to look for line ends, and where the line under way begins.
  size_t scanned_ = 0;
  size_t line_begin_ = 0;
};

}  // namespace quern
