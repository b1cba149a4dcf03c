#include "http/http_server.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <future>
#include <thread>

#include "base/clock.h"
#include "http/listen.h"

namespace quern {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

namespace {

// Above connections_max this many more are told 503; beyond them sockets are closed without a word.
constexpr int64_t kRefusedConnectionsMax = 256;

}  // namespace

HttpServer::HttpServer(HttpServerConfig config, MemoryBudget& budget, HttpHandler handler)
    : config_(std::move(config)), handler_(std::move(handler)), budget_(budget) {}

HttpServer::~HttpServer() { stop(); }

Result<void> HttpServer::start() {
  QUERN_CHECK(!started_, "HttpServer::start() called twice");
  for (int i = 0; i < std::max(1, config_.http_threads); ++i) {
    threads_.push_back(std::make_unique<IoThread>(config_, counters_, handler_, budget_));
  }
  if (auto opened = open_listeners(); !opened) return opened;
  started_ = true;
  // What does not wait for a connection does so after the next tick: a failed accept (no file descriptor left, no
  // memory) tried again at once would spin.
  threads_[0]->start([this] { accept_all(); });
  for (size_t i = 1; i < threads_.size(); ++i) threads_[i]->start();
  return {};
}

Result<void> HttpServer::open_listeners() {
  const auto endpoints = resolve_host(config_.host, config_.port);
  if (!endpoints) return endpoints.error();
  auto acceptors = listen_on(threads_[0]->io_context(), *endpoints, config_.listen_backlog);
  if (!acceptors) return acceptors.error();
  for (tcp::acceptor& acceptor : *acceptors) {
    boost::system::error_code ignored;  // a system that gives less, or none, serves all the same
    acceptor.set_option(asio::socket_base::send_buffer_size(static_cast<int>(config_.send_buffer_bytes)), ignored);
    listeners_.push_back({std::move(acceptor), accept_waits_.emplace_back(false)});
  }
  port_ = listeners_[0].acceptor.local_endpoint().port();
  return {};
}

int64_t HttpServer::connections_count() const {
  int64_t count = 0;
  for (const auto& thread : threads_) count += thread->connections_count();
  return count;
}

void HttpServer::accept_all() {
  for (Listener& listener : listeners_) {
    if (!listener.waits) accept(listener);
  }
}

void HttpServer::accept(Listener& listener) {
  if (!listener.acceptor.is_open()) return;
  const size_t index = next_thread_++ % threads_.size();
  listener.acceptor.async_accept(threads_[index]->io_context(),
                                 [this, &listener, index, waiting = Waiting(listener.waits)](
                                     const boost::system::error_code& ec, tcp::socket socket) mutable {
                                   waiting.end();
                                   on_accept(listener, ec, std::move(socket), index);
                                 });
}

void HttpServer::on_accept(Listener& listener, const boost::system::error_code& ec, tcp::socket socket,
                           size_t thread_index) {
  if (ec == asio::error::operation_aborted) return;
  if (!ec) {
    hand_over(std::move(socket), thread_index);
    return accept(listener);
  }
  counters_.accept_errors.fetch_add(1, std::memory_order_relaxed);
  if (ec == asio::error::connection_aborted) accept(listener);
}

void HttpServer::hand_over(tcp::socket socket, size_t thread_index) {
  const int64_t open = connections_count();
  const bool refuse = open >= config_.connections_max;
  if (refuse) counters_.connections_refused.fetch_add(1, std::memory_order_relaxed);
  if (open >= config_.connections_max + kRefusedConnectionsMax) return;
  if (!refuse) counters_.connections_accepted.fetch_add(1, std::memory_order_relaxed);
  threads_[thread_index]->adopt(std::move(socket), refuse);
}

// On threads_[0]: takes what the kernel has already accepted for us, then closes, so that no connected client is reset.
void HttpServer::close_listeners() {
  boost::system::error_code ec;
  for (Listener& listener : listeners_) {
    listener.acceptor.cancel(ec);
    while (true) {
      const size_t index = next_thread_++ % threads_.size();
      tcp::socket socket = listener.acceptor.accept(threads_[index]->io_context(), ec);
      if (ec) break;
      hand_over(std::move(socket), index);
    }
    listener.acceptor.close(ec);
  }
}

void HttpServer::stop(int64_t drain_timeout_ms) {
  std::lock_guard lock(stop_mutex_);
  if (!started_ || stopped_) return;
  stopped_ = true;
  std::promise<void> closed;
  asio::post(threads_[0]->io_context(), [this, &closed] {
    // Kept from throwing past the promise: stop() waits for it.
    try {
      close_listeners();
    } catch (const std::exception& error) {
      threads_[0]->count_exception("closing the listeners", error);
    }
    closed.set_value();
  });
  closed.get_future().wait();
  for (auto& thread : threads_) thread->drain();
  const int64_t deadline = now_us() + drain_timeout_ms * 1000;
  while (connections_count() > 0 && now_us() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  for (auto& thread : threads_) thread->cut();
  for (auto& thread : threads_) thread->join();
  listeners_.clear();
}

}  // namespace quern
