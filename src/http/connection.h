// Connection: one client's socket; reads requests, hands them to the handler, writes the answers in order.
//
// Lives on one IoThread and is touched only there. Memory per connection is bounded: one request being read, at most
// pipeline_requests_max unanswered ones, and a read-ahead kept going so that a client's leaving is noticed; what is
// large is leased from the server's budget. An exception costs this connection alone: it is counted, logged, and the
// connection closed.
//
// The client's end of file may be a half-close (it waits for its answers) or its leaving; TCP does not tell them apart.
// So requests that have come whole are answered, and written, as long as nothing says that nobody reads them. A reset
// says so at once. If half_close_grace_ms after its end of file an HTTP/1.1 client still waits, it is sent "100
// Continue", which every client of that version must skip (RFC 9110 15.2) and which the kernel of one that has left
// answers with a reset. HTTP/1.0 knows no such thing: its client then counts as gone. The work of a client that is gone
// is cancelled.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "http/input_buffer.h"
#include "http/io_thread.h"
#include "http/output_queue.h"
#include "http/request_parser.h"
#include "http/responder.h"
#include "http/write_deadline.h"

namespace quern {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(IoThread& io, boost::asio::ip::tcp::socket socket, bool refuse);
  ~Connection();

  // None of these throws.
  void start();
  /// Enforces the timeouts.
  void tick(int64_t now);
  /// Does all that can be done now: parse what has come, write what is ready, read on.
  void pump();
  /// Delivers answers whose message to this thread was lost.
  void deliver_answers();
  /// Cuts the connection; unanswered requests are told that the client left.
  void close();
  /// Makes sure that an answer is paid for until it is written; turns it into a 429 when it cannot be.
  void pay_for(HttpResponse& response);

  IoThread& io() { return io_; }
  bool is_closed() const { return phase_ == Phase::kClosed; }

 private:
  enum class Phase {
    kReading,    // takes requests
    kClosing,    // takes no more; answers those it has
    kLingering,  // all is written and our side closed; discards what comes until the client has seen it
    kClosed,
  };

  /// Everything that comes from outside (the loop, the tick, an answer) comes through here.
  template <typename Function>
  void guarded(Function function) {
    if (phase_ == Phase::kClosed) return;
    const auto self = shared_from_this();
    try {
      function();
    } catch (const std::exception& error) {
      io_.count_exception("serving a connection", error);
      close();
    }
  }
  void read();
  void wait_for_error();
  void on_readable(const boost::system::error_code& wait_ec);
  void on_end_of_input();
  void on_client_gone();
  int64_t unpaid_bytes() const;
  void check_half_closed(int64_t now);
  void check_idle(int64_t now);
  bool parse_step();
  bool parse_one();
  bool skip_empty_lines();
  void dispatch_request();
  void refuse(const Refusal& refusal);
  HttpResponse refusal_response(const Refusal& refusal) const;
  void add_slot(std::shared_ptr<Exchange> exchange);
  bool write_step();
  void append_response(Exchange& exchange);
  void write();
  void finish();
  bool bytes_wait_in_kernel();
  bool nothing_in_flight() const { return slots_.empty() && !writing_; }
  size_t read_ahead_bytes() const;

  IoThread& io_;
  boost::asio::ip::tcp::socket socket_;
  CountedConnection counted_;
  std::string client_address_;
  const bool refuse_at_start_;
  Phase phase_ = Phase::kReading;

  InputBuffer input_;
  std::optional<RequestParser> parser_;          // set while a request is being read
  std::deque<std::shared_ptr<Exchange>> slots_;  // unanswered or unwritten requests, in order
  OutputQueue output_;

  int64_t request_started_us_ = 0;
  int64_t body_started_us_ = 0;  // 0 while the head is being read
  int64_t last_active_us_ = 0;
  WriteDeadline write_deadline_{io_.config.write_timeout_ms * 1000, io_.config.write_bytes_per_s_min};
  int64_t linger_deadline_us_ = 0;
  int64_t half_close_deadline_us_ = 0;  // 0: no end of file, or its question has been asked

  bool pumping_ = false;
  bool read_waits_ = false;   // for the socket to become readable
  bool error_waits_ = false;  // for its reset, where it is not read
  bool writing_ = false;      // waits for the socket to become writable
  bool input_ended_ = false;  // the client's end of file
  bool continue_wanted_ = false;
};

}  // namespace quern
