// HttpServer: listens, accepts, and spreads connections over its io threads.
//
// Promises: every request whose last byte was read gets an answer, through stop() too; no client can make the server
// spend memory or threads without bound. start() once; port(), counters() and stop() from any thread but the io
// threads.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "http/http_config.h"
#include "http/io_thread.h"

namespace quern {

class HttpServer {
 public:
  HttpServer(HttpServerConfig config, HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Binds, listens and starts the threads. Errors: host or port not usable.
  Result<void> start();
  /// The port in use; 0 before start().
  uint16_t port() const { return port_; }
  const HttpCounters& counters() const { return counters_; }

  /// Drains: accepts no more, answers what was accepted, closes idle connections, then ends the threads. Cuts what is
  /// left after drain_timeout_ms. Idempotent; a second caller waits for the first.
  void stop();

 private:
  void accept();
  void on_accept(const boost::system::error_code& ec, boost::asio::ip::tcp::socket socket, size_t thread_index);
  void accept_later();
  void hand_over(boost::asio::ip::tcp::socket socket, size_t thread_index);
  void close_listener();
  int64_t connections_count() const;

  HttpServerConfig config_;
  HttpHandler handler_;
  HttpCounters counters_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::unique_ptr<boost::asio::ip::tcp::acceptor> acceptor_;  // runs on threads_[0]
  std::unique_ptr<boost::asio::steady_timer> accept_timer_;
  size_t next_thread_ = 0;
  uint16_t port_ = 0;
  std::mutex stop_mutex_;
  bool started_ = false;
  bool stopped_ = false;
};

}  // namespace quern
