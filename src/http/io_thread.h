// IoThread: one event loop, the connections that live on it, and the tick that enforces their timeouts.
//
// Everything is called on its own thread, but for start(), adopt(), drain(), cut(), join() and deliver_later(), which
// any thread may call. An exception in the loop is counted and logged, and the loop goes on.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>

#include "http/http_config.h"
#include "http/http_types.h"
#include "http/responder.h"

namespace quern {

/// Called on an io thread for each request; must not block.
using HttpHandler = std::function<void(HttpRequest, Responder)>;

class Connection;

class IoThread {
 public:
  IoThread(const HttpServerConfig& config, HttpCounters& counters, const HttpHandler& handler, MemoryBudget& budget);
  ~IoThread();

  /// `on_tick` is called with every tick, on the thread.
  void start(std::function<void()> on_tick = nullptr);
  /// Takes over an accepted socket made for io_context(). `refuse`: answer 503 and close.
  void adopt(boost::asio::ip::tcp::socket socket, bool refuse);
  /// From now on, connections close as soon as nothing is in flight on them.
  void drain();
  /// Closes every connection, then lets the loop end.
  void cut();
  void join();

  boost::asio::io_context& io_context() { return io_context_; }
  bool on_thread() const { return std::this_thread::get_id() == thread_id_.load(std::memory_order_relaxed); }
  int64_t connections_count() const { return connections_count_.load(); }

  /// An answer is there but the message about it could not be sent: the next tick looks for it.
  void deliver_later() { deliver_later_.store(true); }
  void count_exception(std::string_view doing, const std::exception& error) noexcept;

  // For Connection.
  void remove(Connection* connection);
  bool draining() const { return draining_; }
  int64_t drain_started_us() const { return drain_started_us_; }
  const std::string& date() const { return date_; }
  const HttpServerConfig& config;
  HttpCounters& counters;
  const HttpHandler& handler;
  MemoryBudget& budget;

 private:
  friend class CountedConnection;

  void run();
  void tick();
  void look_at_connections(int64_t now);
  void erase_closed();

  boost::asio::io_context io_context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::steady_timer timer_;
  std::function<void()> on_tick_;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
  std::atomic<int64_t> connections_count_{0};  // adopted and not yet closed, the ones on their way to us included
  std::atomic<bool> deliver_later_{false};
  bool iterating_ = false;   // over connections_: what closes is erased afterwards
  bool tick_waits_ = false;  // for its timer
  bool draining_ = false;
  bool cut_ = false;
  int64_t drain_started_us_ = 0;
  std::string date_;
  std::thread thread_;
  std::atomic<std::thread::id> thread_id_{};  // of the running loop
};

/// Counts one connection, from its adoption until it is released or dies.
class CountedConnection {
 public:
  explicit CountedConnection(IoThread& io);
  ~CountedConnection() { release(); }
  CountedConnection(const CountedConnection&) = delete;
  CountedConnection& operator=(const CountedConnection&) = delete;
  void release();

 private:
  IoThread* io_;
};

}  // namespace quern
