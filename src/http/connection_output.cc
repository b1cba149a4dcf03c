// The half of Connection that writes.
#include "base/clock.h"
#include "http/connection.h"

namespace quern {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

void Connection::pay_for(HttpResponse& response) {
  const auto bytes = static_cast<int64_t>(response.body.capacity());
  if (response.lease.bytes() > 0 && response.lease.resize(bytes)) return;
  response.lease = MemoryBudget::Lease(io_.budget);
  if (bytes <= kUncountedBytes - unpaid_bytes() || response.lease.resize(bytes)) return;
  response = refusal_response(budget_refusal(io_.budget, 0));
}

// Of answers that wait for their turn or for the client.
int64_t Connection::unpaid_bytes() const {
  int64_t bytes = output_.unpaid_bytes();
  for (const auto& slot : slots_) {
    if (slot->ready_) bytes += slot->response_.unpaid_bytes();
  }
  return bytes;
}

bool Connection::write_step() {
  if (writing_ || phase_ == Phase::kLingering || phase_ == Phase::kClosed) return false;
  bool progress = false;
  while (!slots_.empty() && slots_.front()->ready_) {
    const auto exchange = std::move(slots_.front());
    slots_.pop_front();
    io_.counters.requests_in_flight.fetch_sub(1, std::memory_order_relaxed);
    append_response(*exchange);
    exchange->detach(false);
    progress = true;
  }
  if (continue_wanted_ && slots_.empty()) {
    continue_wanted_ = false;
    output_.add("HTTP/1.1 100 Continue\r\n\r\n");
  }
  if (!output_.empty()) {
    write();
  } else if (phase_ == Phase::kClosing && slots_.empty()) {
    finish();
  }
  return progress;
}

void Connection::append_response(Exchange& exchange) {
  HttpResponse response = std::move(exchange.response_);
  if (response.status == 500 && response.body.empty()) {
    response = refusal_response({500, "The server failed to answer this request."});
  }
  const bool last_of_drain =
      io_.draining() && slots_.empty() && !parser_ && input_.unparsed().empty() && !bytes_wait_in_kernel();
  const bool close = !exchange.keep_alive_ || last_of_drain;
  output_.add(std::move(response), {io_.date(), exchange.version_, exchange.head_only_, close});
  if (close) phase_ = Phase::kClosing;  // no answer follows: after a request not to be kept alive, none is taken
}

void Connection::write() {
  if (!writing_) write_deadline_.start(now_us());
  boost::system::error_code ec;
  const size_t bytes = output_.write_to(socket_, ec);
  io_.counters.bytes_sent.fetch_add(bytes, std::memory_order_relaxed);
  write_deadline_.took(static_cast<int64_t>(bytes), now_us());
  writing_ = ec == asio::error::would_block || ec == asio::error::try_again;
  if (writing_) {
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const boost::system::error_code& wait_ec) {
      self->guarded([&] {
        if (wait_ec) return self->on_client_gone();
        self->write();
        self->pump();
      });
    });
    return;
  }
  if (ec) return on_client_gone();
  last_active_us_ = now_us();
  if (phase_ == Phase::kClosing && slots_.empty()) finish();
}

// All is written and we want to close. Closing a socket with unread bytes resets it, and the client may then never see
// the answer; so close our side only, and discard what still comes for a while.
void Connection::finish() {
  if (input_ended_) return close();
  boost::system::error_code ec;
  socket_.shutdown(tcp::socket::shutdown_send, ec);
  if (ec) return close();
  phase_ = Phase::kLingering;
  const int64_t linger_ms = io_.draining() ? io_.config.drain_idle_grace_ms : io_.config.linger_timeout_ms;
  linger_deadline_us_ = now_us() + linger_ms * 1000;
}

}  // namespace quern
