// HttpServerConfig: every limit of the transport, named. HttpCounters: what the transport counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "http/http_types.h"

namespace quern {

/// Makes the answer to a request that the transport itself refuses (400, 408, 413, 415, 417, 429, 431, 500, 501, 503,
/// 505). Any io thread.
using ErrorResponse =
    std::function<HttpResponse(int status, std::string_view message, std::string_view client_address)>;

struct HttpServerConfig {
  std::string host = "127.0.0.1";
  uint16_t port = 0;  // 0: the kernel picks a free one
  int http_threads = 2;
  int connections_max = 10'000;               // above it: 503 and close
  int pipeline_requests_max = 16;             // unanswered requests of one connection; above it we stop reading
  int64_t header_bytes_max = 32 * 1024;       // 431
  int64_t body_bytes_max = 64 * 1024 * 1024;  // as sent; 413
  int64_t header_timeout_ms = 10'000;         // first byte of a request to the end of its head; 408
  int64_t body_timeout_ms = 60'000;           // end of the head to the end of the body; 408
  int64_t idle_timeout_ms = 120'000;          // keep-alive with nothing in flight; closed silently
  int64_t write_timeout_ms = 30'000;          // without the client taking a single byte; cut
  int64_t write_bytes_per_s_min = 16 * 1024;  // what it must take on average; late by write_timeout_ms: cut
  /// What the kernel holds of a connection's answers (twice that, Linux says). Unset it grows to 4 MiB, and what a slow
  /// client takes of it shows only when a third of it is free: beyond write_timeout_ms.
  int64_t send_buffer_bytes = 256 * 1024;
  int64_t half_close_grace_ms = 500;  // after the client's end of file: see Connection
  int64_t linger_timeout_ms = 2'000;  // reading on after an early refusal, so that the client sees it
  int64_t drain_timeout_ms = 30'000;  // stop(): in-flight work after that is cut
  int64_t drain_idle_grace_ms = 300;  // stop(): an idle connection is closed only after that long unused
  int listen_backlog = 4096;
  ErrorResponse error_response;  // empty: a plain text body
};

/// Written by io threads, read by anyone.
struct HttpCounters {
  std::atomic<int64_t> connections_open{0};
  std::atomic<uint64_t> connections_accepted{0};
  std::atomic<uint64_t> connections_refused{0};
  std::atomic<uint64_t> accept_errors{0};
  std::atomic<int64_t> requests_in_flight{0};
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> requests_refused{0};  // malformed, too large, too slow
  std::atomic<uint64_t> timeouts{0};
  std::atomic<uint64_t> disconnects{0};  // clients that left with a request in flight
  std::atomic<uint64_t> exceptions{0};   // caught on an io thread; each cost one request or one connection
  std::atomic<uint64_t> bytes_received{0};
  std::atomic<uint64_t> bytes_sent{0};
};

}  // namespace quern
