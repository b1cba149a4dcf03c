#include "http/io_thread.h"

#include <boost/asio/post.hpp>
#include <ctime>
#include <vector>

#include "base/clock.h"
#include "http/connection.h"

namespace quern {

namespace asio = boost::asio;

namespace {

// Timeouts are seconds; looking twenty times a second costs nothing and spares a timer per connection.
constexpr auto kTick = std::chrono::milliseconds(50);

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[40];
  const size_t size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text, size};
}

}  // namespace

IoThread::IoThread(const HttpServerConfig& config_in, HttpCounters& counters_in, const HttpHandler& handler_in)
    : config(config_in),
      counters(counters_in),
      handler(handler_in),
      work_(asio::make_work_guard(io_context_)),
      timer_(io_context_),
      date_(http_date()) {}

IoThread::~IoThread() = default;

void IoThread::start() {
  thread_ = std::thread([this] { run(); });
}

void IoThread::run() {
  thread_id_ = std::this_thread::get_id();
  tick();
  io_context_.run();
}

void IoThread::tick() {
  if (cut_) return;  // cancelling the timer does not stop a tick that was already due; setting it again would never end
  date_ = http_date();
  const int64_t now = now_us();
  std::vector<std::shared_ptr<Connection>> all;  // a tick may close, and so remove, any of them
  all.reserve(connections_.size());
  for (const auto& [key, connection] : connections_) all.push_back(connection);
  for (const auto& connection : all) connection->tick(now);
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& ec) {
    if (!ec) tick();
  });
}

void IoThread::adopt(asio::ip::tcp::socket socket, bool refuse) {
  connections_count_.fetch_add(1);
  counters.connections_open.fetch_add(1);
  auto connection = std::make_shared<Connection>(*this, std::move(socket), refuse);
  asio::post(io_context_, [this, connection] {
    connections_.emplace(connection.get(), connection);
    cut_ ? connection->close() : connection->start();
  });
}

void IoThread::remove(Connection* connection) {
  if (connections_.erase(connection) == 0) return;
  connections_count_.fetch_sub(1);
  counters.connections_open.fetch_sub(1);
}

void IoThread::drain() {
  asio::post(io_context_, [this] {
    draining_ = true;
    drain_started_us_ = now_us();
  });
}

void IoThread::cut() {
  asio::post(io_context_, [this] {
    cut_ = true;
    std::vector<std::shared_ptr<Connection>> all;
    for (const auto& [key, connection] : connections_) all.push_back(connection);
    for (const auto& connection : all) connection->close();
    timer_.cancel();
    work_.reset();
  });
}

void IoThread::join() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace quern
