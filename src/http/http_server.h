// HttpServer: listens, accepts, and spreads connections over its io threads.
//
// Promises: every request whose last byte was read gets an answer, through stop() too; no client can make the server
// spend memory or threads without bound: what is large is leased from `budget`, which outlives the server, the requests
// and the answers. start() once; port(), counters() and stop() from any thread but the io threads.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "http/http_config.h"
#include "http/io_thread.h"

namespace quern {

class HttpServer {
 public:
  HttpServer(HttpServerConfig config, MemoryBudget& budget, HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Binds every address of the host, listens and starts the threads. Errors: host or port not usable.
  Result<void> start();
  /// The port in use; 0 before start().
  uint16_t port() const { return port_; }
  const HttpCounters& counters() const { return counters_; }

  /// Drains: accepts no more, answers what was accepted, closes idle connections, then ends the threads. Cuts what is
  /// left after drain_timeout_ms. Idempotent; a second caller waits for the first.
  void stop() { stop(config_.drain_timeout_ms); }
  /// The same with another time: 0 cuts at once what is not answered yet.
  void stop(int64_t drain_timeout_ms);

 private:
  /// One address that we listen on; lives on threads_[0].
  struct Listener {
    boost::asio::ip::tcp::acceptor acceptor;
    bool& waits;  // for a connection; else the next tick makes it wait
  };
  Result<void> open_listeners();
  void accept_all();
  void accept(Listener& listener);
  void on_accept(Listener& listener, const boost::system::error_code& ec, boost::asio::ip::tcp::socket socket,
                 size_t thread_index);
  void hand_over(boost::asio::ip::tcp::socket socket, size_t thread_index);
  void close_listeners();
  int64_t connections_count() const;

  HttpServerConfig config_;
  HttpHandler handler_;
  MemoryBudget& budget_;
  HttpCounters counters_;
  std::deque<bool> accept_waits_;  // one for each listener; outlives the loops' handlers
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::vector<Listener> listeners_;
  size_t next_thread_ = 0;
  uint16_t port_ = 0;
  std::mutex stop_mutex_;
  bool started_ = false;
  bool stopped_ = false;
};

}  // namespace quern
