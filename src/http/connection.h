// Connection: one client's socket; reads requests, hands them to the handler, writes the answers in order.
//
// Lives on one IoThread and is touched only there. Memory per connection is bounded: one request being read, at most
// pipeline_requests_max unanswered ones, and a read-ahead of kReadAheadBytes, kept going so that a client's leaving is
// noticed.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/io_thread.h"
#include "http/request_parser.h"
#include "http/responder.h"

namespace quern {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(IoThread& io, boost::asio::ip::tcp::socket socket, bool refuse);
  ~Connection();

  void start();
  /// Enforces the timeouts.
  void tick(int64_t now);
  /// Does all that can be done now: parse what has come, write what is ready, read on.
  void pump();
  /// Cuts the connection; unanswered requests are told that the client left.
  void close();

  boost::asio::io_context& io_context() { return io_.io_context(); }
  bool on_io_thread() const { return io_.on_thread(); }

 private:
  void read();
  void on_read(const boost::system::error_code& ec, size_t bytes);
  void on_client_left();
  bool parse_step();
  bool parse_one();
  void dispatch_request();
  void refuse(int status, std::string_view message);
  bool write_step();
  void append_response(Exchange& exchange);
  void write();
  void on_written(size_t bytes);
  void finish();
  bool refuse_when_full(size_t body_bytes);
  void count_buffered_bytes();
  bool nothing_in_flight() const { return slots_.empty() && !writing_; }

  IoThread& io_;
  boost::asio::ip::tcp::socket socket_;
  std::string client_address_;
  const bool refuse_at_start_;

  std::string input_;  // bytes read; [input_begin_, input_.size()) are not parsed yet
  size_t input_begin_ = 0;
  std::optional<RequestParser> parser_;  // set while a request is being read
  int64_t request_started_us_ = 0;
  int64_t body_started_us_ = 0;  // 0 while the head is being read
  int64_t last_active_us_ = 0;

  std::deque<std::shared_ptr<Exchange>> slots_;  // unanswered or unwritten requests, in order
  std::vector<std::string> output_;
  std::vector<boost::asio::const_buffer> output_buffers_;
  size_t output_index_ = 0;
  size_t output_offset_ = 0;
  int64_t write_progress_us_ = 0;
  int64_t buffered_bytes_ = 0;  // this connection's share of HttpCounters::buffered_bytes
  int64_t linger_deadline_us_ = 0;

  bool continue_wanted_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool pumping_ = false;
  bool parsing_over_ = false;  // no further request will be taken from this connection
  bool close_when_written_ = false;
  bool client_done_ = false;  // EOF or reset
  bool lingering_ = false;    // all is written; discarding until the client has seen it
  bool closed_ = false;
};

}  // namespace quern
