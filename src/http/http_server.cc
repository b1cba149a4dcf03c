#include "http/http_server.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <future>
#include <thread>

#include "base/clock.h"

namespace quern {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

namespace {

// Out of file descriptors or memory: accepting again at once would spin.
constexpr auto kAcceptRetry = std::chrono::milliseconds(50);
// Above connections_max this many more are told 503; beyond them sockets are closed without a word.
constexpr int64_t kRefusedConnectionsMax = 256;

}  // namespace

HttpServer::HttpServer(HttpServerConfig config, HttpHandler handler)
    : config_(std::move(config)), handler_(std::move(handler)) {}

HttpServer::~HttpServer() { stop(); }

Result<void> HttpServer::start() {
  QUERN_CHECK(!started_, "HttpServer::start() called twice");
  boost::system::error_code ec;
  const std::string where = config_.host + ":" + std::to_string(config_.port);
  for (int i = 0; i < std::max(1, config_.http_threads); ++i) {
    threads_.push_back(std::make_unique<IoThread>(config_, counters_, handler_));
  }
  asio::io_context& io = threads_[0]->io_context();
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(config_.host, std::to_string(config_.port), tcp::resolver::passive, ec);
  if (ec || found.empty())
    return invalid_argument("cannot resolve host " + config_.host + ": " + ec.message(), "--host");
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_ = std::make_unique<tcp::acceptor>(io);
  accept_timer_ = std::make_unique<asio::steady_timer>(io);
  acceptor_->open(endpoint.protocol(), ec);
  if (!ec) acceptor_->set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) acceptor_->bind(endpoint, ec);
  if (!ec) acceptor_->listen(config_.listen_backlog, ec);
  if (!ec) acceptor_->non_blocking(true, ec);
  if (ec) return invalid_argument("cannot listen on " + where + ": " + ec.message(), "--port");
  port_ = acceptor_->local_endpoint().port();
  started_ = true;
  asio::post(io, [this] { accept(); });
  for (auto& thread : threads_) thread->start();
  return {};
}

int64_t HttpServer::connections_count() const {
  int64_t count = 0;
  for (const auto& thread : threads_) count += thread->connections_count();
  return count;
}

void HttpServer::accept() {
  if (!acceptor_->is_open()) return;
  const size_t index = next_thread_++ % threads_.size();
  acceptor_->async_accept(threads_[index]->io_context(),
                          [this, index](const boost::system::error_code& ec, tcp::socket socket) {
                            on_accept(ec, std::move(socket), index);
                          });
}

void HttpServer::on_accept(const boost::system::error_code& ec, tcp::socket socket, size_t thread_index) {
  if (ec == asio::error::operation_aborted) return;
  if (!ec) {
    hand_over(std::move(socket), thread_index);
    return accept();
  }
  counters_.accept_errors.fetch_add(1, std::memory_order_relaxed);
  if (ec == asio::error::connection_aborted) return accept();
  accept_later();
}

void HttpServer::accept_later() {
  accept_timer_->expires_after(kAcceptRetry);
  accept_timer_->async_wait([this](const boost::system::error_code& ec) {
    if (!ec) accept();
  });
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
void HttpServer::close_listener() {
  boost::system::error_code ec;
  acceptor_->cancel(ec);
  while (true) {
    const size_t index = next_thread_++ % threads_.size();
    tcp::socket socket = acceptor_->accept(threads_[index]->io_context(), ec);
    if (ec) break;
    hand_over(std::move(socket), index);
  }
  accept_timer_->cancel();
  acceptor_->close(ec);
}

void HttpServer::stop() {
  std::lock_guard lock(stop_mutex_);
  if (!started_ || stopped_) return;
  stopped_ = true;
  std::promise<void> closed;
  asio::post(threads_[0]->io_context(), [this, &closed] {
    close_listener();
    closed.set_value();
  });
  closed.get_future().wait();
  for (auto& thread : threads_) thread->drain();
  const int64_t deadline = now_us() + config_.drain_timeout_ms * 1000;
  while (connections_count() > 0 && now_us() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  for (auto& thread : threads_) thread->cut();
  for (auto& thread : threads_) thread->join();
  acceptor_.reset();
  accept_timer_.reset();
}

}  // namespace quern
