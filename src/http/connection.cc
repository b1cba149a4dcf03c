#include "http/connection.h"

#include "base/clock.h"
#include "http/content_decoder.h"

namespace quern {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

namespace {

constexpr size_t kReadBytes = 64 * 1024;

std::string address_of(const tcp::socket& socket) {
  boost::system::error_code ec;
  const auto endpoint = socket.remote_endpoint(ec);
  if (ec) return "unknown";
  return endpoint.address().to_string(ec) + ":" + std::to_string(endpoint.port());
}

}  // namespace

Connection::Connection(IoThread& io, tcp::socket socket, bool refuse)
    : io_(io), socket_(std::move(socket)), counted_(io), refuse_at_start_(refuse), input_(io.budget) {}

Connection::~Connection() = default;

void Connection::start() {
  guarded([this] {
    boost::system::error_code ec;
    socket_.set_option(tcp::no_delay(true), ec);
    socket_.non_blocking(true, ec);
    client_address_ = address_of(socket_);
    last_active_us_ = now_us();
    if (refuse_at_start_) {
      refuse({503,
              "Too many connections: at most " + std::to_string(io_.config.connections_max) + " are served at once."});
    }
    pump();
  });
}

void Connection::pump() {
  if (pumping_) return;
  guarded([this] {
    pumping_ = true;
    bool progress = true;
    while (progress && phase_ != Phase::kClosed) {
      progress = parse_step();
      progress |= write_step();
    }
    pumping_ = false;
    if (phase_ != Phase::kClosed) read();
  });
}

void Connection::deliver_answers() {
  guarded([this] {
    const auto slots = slots_;  // delivering one may take any of them away
    for (const auto& slot : slots) {
      if (slot->answered()) slot->deliver();
    }
  });
}

// --- reading
// -----------------------------------------------------------------------------------------------------------

// A whole head must fit, or it would never be parsed.
size_t Connection::read_ahead_bytes() const {
  return std::max(kReadBytes, static_cast<size_t>(io_.config.header_bytes_max) + 1);
}

void Connection::read() {
  const bool full = phase_ == Phase::kReading && input_.unparsed().size() >= read_ahead_bytes();  // backpressure
  // After its end of file a socket is readable for ever; what is left to wait for is an error, as when nothing is read.
  if (full || input_ended_) return wait_for_error();
  if (read_waits_) return;
  read_waits_ = true;
  // Wait first, read after: a waiting connection then holds no read buffer.
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const boost::system::error_code& ec) {
    self->read_waits_ = false;
    self->guarded([&] { self->on_readable(ec); });
  });
}

// Goes on beside a later read(): a reset is a reset. So are urgent data, which HTTP has no use for.
void Connection::wait_for_error() {
  if (error_waits_) return;
  error_waits_ = true;
  socket_.async_wait(tcp::socket::wait_error, [self = shared_from_this()](const boost::system::error_code&) {
    self->error_waits_ = false;
    self->guarded([&] { self->on_client_gone(); });
  });
}

void Connection::on_readable(const boost::system::error_code& wait_ec) {
  thread_local std::unique_ptr<char[]> buffer(new char[kReadBytes]);
  boost::system::error_code ec = wait_ec;
  const size_t bytes = ec ? 0 : socket_.read_some(asio::buffer(buffer.get(), kReadBytes), ec);
  if (ec == asio::error::would_block || ec == asio::error::try_again) return read();
  if (ec == asio::error::eof) return on_end_of_input();
  if (ec) return on_client_gone();
  io_.counters.bytes_received.fetch_add(bytes, std::memory_order_relaxed);
  last_active_us_ = now_us();
  if (phase_ == Phase::kReading && !input_.add({buffer.get(), bytes})) {
    refuse(budget_refusal(io_.budget, static_cast<int64_t>(bytes)));
  }
  pump();
  if (phase_ != Phase::kReading || input_.keep()) return;
  refuse(budget_refusal(io_.budget, static_cast<int64_t>(bytes)));
  pump();
}

void Connection::on_end_of_input() {
  input_ended_ = true;
  if (phase_ == Phase::kLingering) return close();
  half_close_deadline_us_ = now_us() + io_.config.half_close_grace_ms * 1000;
  pump();
}

void Connection::on_client_gone() {
  bool unanswered = false;
  for (const auto& slot : slots_) unanswered |= !slot->ready_;
  HttpCounters& counters = io_.counters;
  close();  // first: when the leaving shows in the counter, each of its requests knows of it
  if (unanswered) counters.disconnects.fetch_add(1, std::memory_order_release);
}

// --- parsing
// -----------------------------------------------------------------------------------------------------------

bool Connection::parse_step() {
  bool progress = false;
  const auto has_room = [&] { return static_cast<int>(slots_.size()) < io_.config.pipeline_requests_max; };
  while (phase_ == Phase::kReading && has_room() && parse_one()) progress = true;
  if (phase_ == Phase::kReading && input_ended_ && has_room()) {
    // What is left is no whole request, and will never be.
    phase_ = Phase::kClosing;
    parser_.reset();
    progress = true;
  }
  if (phase_ != Phase::kReading) input_.clear();
  return progress;
}

// RFC 9112 2.2: empty lines before a request line are skipped. False when nothing else is there.
bool Connection::skip_empty_lines() {
  while (input_.unparsed().starts_with("\r\n")) input_.consume(2);
  return !input_.unparsed().empty() && input_.unparsed() != "\r";
}

// Feeds the parser; true when it made a whole request (or refused one), false when it needs more bytes.
bool Connection::parse_one() {
  if (!parser_) {
    if (!skip_empty_lines()) return false;
    parser_.emplace(io_.config, io_.budget);
    request_started_us_ = now_us();
    body_started_us_ = 0;
  }
  while (true) {
    const size_t used = parser_->feed(input_.unparsed());
    input_.consume(used);
    if (parser_->state() == RequestParser::State::kRefused) {
      refuse(Refusal(parser_->refusal()));
      return true;
    }
    if (parser_->state() == RequestParser::State::kDone) {
      dispatch_request();
      return true;
    }
    if (parser_->has_head() && body_started_us_ == 0) {
      body_started_us_ = now_us();
      continue_wanted_ = parser_->take_expect_continue();
    }
    if (used > 0 && !input_.unparsed().empty()) continue;
    if (input_.unparsed().size() < read_ahead_bytes()) return false;
    refuse({431, "Trailers or a chunk's extensions are larger than " + std::to_string(read_ahead_bytes()) + " bytes."});
    return true;
  }
}

void Connection::add_slot(std::shared_ptr<Exchange> exchange) {
  slots_.push_back(std::move(exchange));
  io_.counters.requests_in_flight.fetch_add(1, std::memory_order_relaxed);
}

void Connection::dispatch_request() {
  HttpRequest request = std::move(parser_->request());
  parser_.reset();
  continue_wanted_ = false;
  request.client_address = client_address_;
  request.received_us = request_started_us_;
  request.body_received_us = now_us();
  auto exchange = std::make_shared<Exchange>(this, request.method() == "HEAD", request.keep_alive, request.version);
  add_slot(exchange);
  if (!request.keep_alive) phase_ = Phase::kClosing;
  io_.counters.requests.fetch_add(1, std::memory_order_relaxed);
  Responder responder(std::move(exchange));
  if (request.target() == "*") {  // RFC 9110 9.3.7: about the server as a whole; a ping
    HttpResponse response;
    response.status = 204;
    response.add_header("Allow", "GET, HEAD, POST, OPTIONS");
    return responder.send(std::move(response));
  }
  try {
    io_.handler(std::move(request), std::move(responder));
  } catch (const std::exception& error) {
    // The Responder, wherever it was, has died unanswered, which sends 500.
    io_.count_exception("handling a request", error);
  }
}

HttpResponse Connection::refusal_response(const Refusal& refusal) const {
  HttpResponse response;
  if (io_.config.error_response) {
    response = io_.config.error_response(refusal.status, refusal.message, client_address_);
  } else {
    response.content_type = "text/plain";
    response.body = refusal.message;
  }
  response.status = refusal.status;
  if (refusal.status == 415) response.add_header("Accept-Encoding", kContentCodings);
  const bool retry = refusal.status == 429 || refusal.status == 503;
  if (retry && response.header_lines.find("Retry-After") == std::string::npos) {
    response.add_header("Retry-After", "1");
  }
  return response;
}

void Connection::refuse(const Refusal& refusal) {
  io_.counters.requests_refused.fetch_add(1, std::memory_order_relaxed);
  parser_.reset();
  phase_ = Phase::kClosing;
  continue_wanted_ = false;
  auto exchange = std::make_shared<Exchange>(this, false, false, 11);
  exchange->response_ = refusal_response(refusal);
  exchange->answered_ = true;
  exchange->ready_ = true;
  add_slot(std::move(exchange));
}

// --- timeouts and the end
// ----------------------------------------------------------------------------------------------

void Connection::tick(int64_t now) {
  guarded([this, now] {
    const HttpServerConfig& config = io_.config;
    if (phase_ == Phase::kLingering) {
      if (now >= linger_deadline_us_) close();
    } else if (writing_ && write_deadline_.is_over(now)) {
      io_.counters.timeouts.fetch_add(1, std::memory_order_relaxed);
      close();
    } else if (parser_) {  // also of a client that is written to
      const bool in_body = body_started_us_ != 0;
      const int64_t limit_ms = in_body ? config.body_timeout_ms : config.header_timeout_ms;
      if (now - (in_body ? body_started_us_ : request_started_us_) <= limit_ms * 1000) return;
      io_.counters.timeouts.fetch_add(1, std::memory_order_relaxed);
      refuse({408, std::string("The request ") + (in_body ? "body" : "head") + " did not arrive within " +
                       std::to_string(limit_ms) + " ms."});
      pump();
    } else if (writing_) {
      return;
    } else if (half_close_deadline_us_ != 0) {
      check_half_closed(now);
    } else if (nothing_in_flight()) {
      check_idle(now);
    }
  });
}

// See the head of connection.h. Asked once: the reset that answers comes by itself.
void Connection::check_half_closed(int64_t now) {
  if (now < half_close_deadline_us_) return;
  half_close_deadline_us_ = 0;
  if (slots_.empty() || slots_.front()->version_ == 10) return on_client_gone();
  output_.add("HTTP/1.1 100 Continue\r\n\r\n");
  write();
}

// Bytes that the loop has not read yet may be a request that came just in time.
void Connection::check_idle(int64_t now) {
  const int64_t idle_ms = (now - last_active_us_) / 1000;
  const int64_t drain_ms = io_.draining() ? (now - io_.drain_started_us()) / 1000 : 0;
  const int64_t grace_ms = io_.config.drain_idle_grace_ms;
  const bool idle = idle_ms > io_.config.idle_timeout_ms || (drain_ms > grace_ms && idle_ms > grace_ms);
  if (idle && !bytes_wait_in_kernel()) close();
}

bool Connection::bytes_wait_in_kernel() {
  boost::system::error_code ec;
  return socket_.available(ec) > 0 && !ec;
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();
  phase_ = Phase::kClosed;
  boost::system::error_code ec;
  socket_.close(ec);
  io_.counters.requests_in_flight.fetch_sub(static_cast<int64_t>(slots_.size()), std::memory_order_relaxed);
  while (!slots_.empty()) {
    const auto exchange = std::move(slots_.front());
    slots_.pop_front();
    exchange->detach(true);
  }
  counted_.release();
  io_.remove(this);
}

}  // namespace quern
