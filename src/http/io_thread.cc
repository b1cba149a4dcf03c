#include "http/io_thread.h"

#include <boost/asio/post.hpp>
#include <ctime>

#include "base/clock.h"
#include "http/connection.h"
#include "observe/log.h"

namespace quern {

namespace asio = boost::asio;

namespace {

// Timeouts are seconds; looking twenty times a second costs nothing and spares a timer per connection.
constexpr auto kTick = std::chrono::milliseconds(50);
// The loop failed, most likely for want of memory: trying again at once would spin.
constexpr auto kAfterException = std::chrono::milliseconds(1);

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[40];
  const size_t size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text, size};
}

}  // namespace

IoThread::IoThread(const HttpServerConfig& config_in, HttpCounters& counters_in, const HttpHandler& handler_in,
                   MemoryBudget& budget_in)
    : config(config_in),
      counters(counters_in),
      handler(handler_in),
      budget(budget_in),
      work_(asio::make_work_guard(io_context_)),
      timer_(io_context_),
      date_(http_date()) {}

IoThread::~IoThread() = default;

void IoThread::start(std::function<void()> on_tick) {
  on_tick_ = std::move(on_tick);
  thread_ = std::thread([this] { run(); });
}

void IoThread::run() {
  thread_id_ = std::this_thread::get_id();
  while (true) {
    try {
      if (!tick_waits_) tick();
      io_context_.run();
      return;
    } catch (const std::exception& error) {
      count_exception("in an io loop", error);
      std::this_thread::sleep_for(kAfterException);
    }
  }
}

void IoThread::count_exception(std::string_view doing, const std::exception& error) noexcept {
  counters.exceptions.fetch_add(1, std::memory_order_relaxed);
  try {
    log_error("an exception was caught", {{"quern.doing", doing}, {"error.message", std::string_view(error.what())}});
  } catch (const std::exception&) {
    // No memory for the line either; it is counted.
  }
}

void IoThread::tick() {
  tick_waits_ = false;
  if (cut_) return;  // cancelling the timer does not stop a tick that was already due; setting it again would never end
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& ec) {
    tick_waits_ = false;
    if (!ec) tick();
  });
  tick_waits_ = true;
  date_ = http_date();
  if (on_tick_) on_tick_();
  look_at_connections(now_us());
}

void IoThread::look_at_connections(int64_t now) {
  const bool deliver = deliver_later_.exchange(false);
  iterating_ = true;
  for (const auto& [key, connection] : connections_) {
    connection->tick(now);
    if (deliver) connection->deliver_answers();
  }
  erase_closed();
}

void IoThread::adopt(asio::ip::tcp::socket socket, bool refuse) {
  auto connection = std::make_shared<Connection>(*this, std::move(socket), refuse);
  asio::post(io_context_, [this, connection] {
    connections_.emplace(connection.get(), connection);
    cut_ ? connection->close() : connection->start();
  });
}

// A tick may close any of the connections it goes through.
void IoThread::remove(Connection* connection) {
  if (!iterating_) connections_.erase(connection);
}

void IoThread::erase_closed() {
  iterating_ = false;
  std::erase_if(connections_, [](const auto& entry) { return entry.second->is_closed(); });
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
    iterating_ = true;
    for (const auto& [key, connection] : connections_) connection->close();
    erase_closed();
    timer_.cancel();
    work_.reset();
  });
}

void IoThread::join() {
  if (thread_.joinable()) thread_.join();
}

CountedConnection::CountedConnection(IoThread& io) : io_(&io) {
  io.connections_count_.fetch_add(1);
  io.counters.connections_open.fetch_add(1);
}

void CountedConnection::release() {
  if (io_ == nullptr) return;
  io_->connections_count_.fetch_sub(1);
  io_->counters.connections_open.fetch_sub(1);
  io_ = nullptr;
}

}  // namespace quern
