#include "http/connection.h"

#include <charconv>

#include "base/clock.h"

namespace quern {

namespace asio = boost::asio;

namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kReadAheadBytes = 64 * 1024;
// Bodies up to this size are copied behind their head, so that small answers leave in one piece.
constexpr size_t kSmallBodyBytes = 16 * 1024;
constexpr size_t kWriteBuffersMax = 16;

std::string address_of(const asio::ip::tcp::socket& socket) {
  boost::system::error_code ec;
  const auto endpoint = socket.remote_endpoint(ec);
  if (ec) return "unknown";
  return endpoint.address().to_string(ec) + ":" + std::to_string(endpoint.port());
}

}  // namespace

Connection::Connection(IoThread& io, asio::ip::tcp::socket socket, bool refuse)
    : io_(io), socket_(std::move(socket)), refuse_at_start_(refuse) {}

Connection::~Connection() = default;

void Connection::start() {
  boost::system::error_code ec;
  socket_.set_option(asio::ip::tcp::no_delay(true), ec);
  socket_.non_blocking(true, ec);
  client_address_ = address_of(socket_);
  last_active_us_ = now_us();
  if (refuse_at_start_) {
    refuse(503, "Too many connections: at most " + std::to_string(io_.config.connections_max) + " are served at once.");
  }
  pump();
}

void Connection::pump() {
  if (pumping_ || closed_) return;
  const auto self = shared_from_this();
  pumping_ = true;
  bool progress = true;
  while (progress && !closed_) {
    progress = parse_step();
    progress |= write_step();
  }
  pumping_ = false;
  if (closed_) return;
  count_buffered_bytes();
  read();
}

void Connection::read() {
  if (reading_ || client_done_) return;
  if (!parsing_over_ && input_.size() - input_begin_ >= kReadAheadBytes) return;  // backpressure
  reading_ = true;
  // Wait first, read after: a waiting connection then holds no read buffer.
  socket_.async_wait(
      asio::ip::tcp::socket::wait_read, [self = shared_from_this()](const boost::system::error_code& ec) {
        self->reading_ = false;
        if (self->closed_) return;
        thread_local std::unique_ptr<char[]> buffer(new char[kReadBytes]);
        boost::system::error_code read_ec = ec;
        const size_t bytes = ec ? 0 : self->socket_.read_some(asio::buffer(buffer.get(), kReadBytes), read_ec);
        if (read_ec == asio::error::would_block || read_ec == asio::error::try_again) return self->read();
        if (bytes > 0 && !self->parsing_over_) self->input_.append(buffer.get(), bytes);
        self->on_read(read_ec, bytes);
      });
}

void Connection::on_read(const boost::system::error_code& ec, size_t bytes) {
  if (ec) return on_client_left();
  io_.counters.bytes_received.fetch_add(bytes, std::memory_order_relaxed);
  last_active_us_ = now_us();
  pump();
}

void Connection::on_client_left() {
  client_done_ = true;
  bool unanswered = false;
  for (const auto& slot : slots_) unanswered |= !slot->ready_;
  if (unanswered) io_.counters.disconnects.fetch_add(1, std::memory_order_relaxed);
  // A client that only closed its sending side still gets the answers that are already being written.
  if (lingering_ || unanswered || nothing_in_flight()) return close();
  parsing_over_ = true;
  close_when_written_ = true;
}

bool Connection::parse_step() {
  bool progress = false;
  while (!parsing_over_ && !closed_ && input_begin_ < input_.size() &&
         static_cast<int>(slots_.size()) < io_.config.pipeline_requests_max) {
    if (!parse_one()) break;
    progress = true;
  }
  if (parsing_over_ || input_begin_ == input_.size()) {
    input_.clear();
    input_begin_ = 0;
    if (input_.capacity() > 2 * kReadBytes) input_.shrink_to_fit();
  } else if (input_begin_ >= kReadAheadBytes) {
    input_.erase(0, input_begin_);
    input_begin_ = 0;
  }
  return progress;
}

// Feeds the parser; true when it made a whole request (or refused one), false when it needs more bytes.
bool Connection::parse_one() {
  if (!parser_) {
    parser_.emplace(io_.config.header_bytes_max, io_.config.body_bytes_max);
    request_started_us_ = now_us();
    body_started_us_ = 0;
  }
  while (!parser_->is_done()) {
    boost::beast::error_code ec;
    const size_t used = parser_->feed(std::string_view(input_).substr(input_begin_), ec);
    input_begin_ += used;
    if (ec && ec != boost::beast::http::error::need_more) {
      const Refusal refusal = describe_parse_error(ec, io_.config);
      refuse(refusal.status, refusal.message);
      return true;
    }
    if (parser_->is_done()) break;
    if (parser_->is_header_done() && body_started_us_ == 0) {
      body_started_us_ = now_us();
      continue_wanted_ = parser_->take_expect_continue();
    }
    if (refuse_when_full(parser_->request().body.size())) return true;
    if (used == 0 || input_begin_ == input_.size()) return false;
  }
  if (refuse_when_full(parser_->request().body.size())) return true;
  dispatch_request();
  return true;
}

// True when it refused the request: its body would take the server's buffers above their limit.
bool Connection::refuse_when_full(size_t body_bytes) {
  if (body_bytes == 0) return false;
  const int64_t others = io_.counters.buffered_bytes.load(std::memory_order_relaxed) - buffered_bytes_;
  if (others + static_cast<int64_t>(body_bytes) <= io_.config.buffered_bytes_max) return false;
  refuse(503, "Requests and answers in memory have reached the server's limit of " +
                  std::to_string(io_.config.buffered_bytes_max) + " bytes. Try again later.");
  return true;
}

// Recounted rather than kept up to date at every change: a connection holds few things, and a sum cannot drift.
void Connection::count_buffered_bytes() {
  size_t bytes = input_.size() + (parser_ ? parser_->request().body.size() : 0);
  for (const auto& slot : slots_) bytes += slot->body_bytes_ + (slot->ready_ ? slot->response_.body.size() : 0);
  for (const std::string& text : output_) bytes += text.size();
  const auto now = static_cast<int64_t>(bytes);
  io_.counters.buffered_bytes.fetch_add(now - buffered_bytes_, std::memory_order_relaxed);
  buffered_bytes_ = now;
}

void Connection::dispatch_request() {
  HttpRequest request = std::move(parser_->request());
  request.client_address = client_address_;
  request.received_us = request_started_us_;
  request.body_received_us = now_us();
  request.keep_alive = parser_->keep_alive();
  parser_.reset();
  continue_wanted_ = false;
  if (!request.keep_alive) parsing_over_ = true;
  auto exchange = std::make_shared<Exchange>(this, request.method() == "HEAD", request.keep_alive, request.version);
  exchange->body_bytes_ = request.body.size();
  slots_.push_back(exchange);
  io_.counters.requests.fetch_add(1, std::memory_order_relaxed);
  io_.counters.requests_in_flight.fetch_add(1, std::memory_order_relaxed);
  Responder responder(std::move(exchange));
  try {
    io_.handler(std::move(request), std::move(responder));
  } catch (const std::exception&) {
    // The Responder, wherever it was, has died unanswered, which sends 500.
  }
}

void Connection::refuse(int status, std::string_view message) {
  io_.counters.requests_refused.fetch_add(1, std::memory_order_relaxed);
  parser_.reset();
  parsing_over_ = true;
  auto exchange = std::make_shared<Exchange>(this, false, false, 11);
  if (io_.config.error_response) {
    exchange->response_ = io_.config.error_response(status, message);
  } else {
    exchange->response_.content_type = "text/plain";
    exchange->response_.body = message;
  }
  exchange->response_.status = status;
  exchange->answered_ = true;
  exchange->ready_ = true;
  slots_.push_back(std::move(exchange));
  io_.counters.requests_in_flight.fetch_add(1, std::memory_order_relaxed);
}

bool Connection::write_step() {
  if (writing_ || closed_) return false;
  bool progress = false;
  while (!slots_.empty() && slots_.front()->ready_ && !close_when_written_) {
    const auto exchange = std::move(slots_.front());
    slots_.pop_front();
    io_.counters.requests_in_flight.fetch_sub(1, std::memory_order_relaxed);
    append_response(*exchange);
    exchange->detach(false);
    progress = true;
  }
  if (continue_wanted_ && slots_.empty() && !close_when_written_) {
    continue_wanted_ = false;
    output_.emplace_back("HTTP/1.1 100 Continue\r\n\r\n");
  }
  if (!output_.empty()) {
    write();
  } else if (close_when_written_ && !lingering_) {
    finish();
  }
  return progress;
}

void Connection::append_response(Exchange& exchange) {
  HttpResponse& response = exchange.response_;
  if (response.status == 500 && response.body.empty() && io_.config.error_response) {
    response = io_.config.error_response(500, "The server failed to answer this request.");
    response.status = 500;
  }
  const bool last_of_drain = io_.draining() && slots_.empty() && !parser_ && input_begin_ == input_.size();
  const bool close_after = response.close || !exchange.keep_alive_ || last_of_drain;
  if (output_.empty() || output_.back().size() > kSmallBodyBytes) output_.emplace_back().reserve(256);
  std::string& out = output_.back();
  char digits[24];
  const auto number = [&digits](auto value) {
    return std::string_view(digits, std::to_chars(digits, digits + sizeof digits, value).ptr - digits);
  };
  out.append("HTTP/1.1 ").append(number(response.status)).append(" ").append(reason_phrase(response.status));
  out.append("\r\nDate: ").append(io_.date());
  if (response.status != 204) {
    out.append("\r\nContent-Type: ").append(response.content_type);
    out.append("\r\nContent-Length: ").append(number(response.body.size()));
  }
  out.append("\r\n").append(response.header_lines);
  if (close_after) {
    out.append("Connection: close\r\n");
  } else if (exchange.version_ == 10) {
    out.append("Connection: keep-alive\r\n");
  }
  out.append("\r\n");
  if (!exchange.head_only_ && response.status != 204) {
    if (response.body.size() <= kSmallBodyBytes) {
      out.append(response.body);
    } else {
      output_.push_back(std::move(response.body));
    }
  }
  if (close_after) {
    close_when_written_ = true;
    parsing_over_ = true;
  }
}

void Connection::write() {
  if (!writing_) write_progress_us_ = now_us();
  writing_ = true;
  while (output_index_ < output_.size()) {
    output_buffers_.clear();
    for (size_t i = output_index_; i < output_.size() && output_buffers_.size() < kWriteBuffersMax; ++i) {
      output_buffers_.emplace_back(output_[i].data(), output_[i].size());
    }
    output_buffers_.front() += output_offset_;
    boost::system::error_code ec;
    const size_t bytes = socket_.write_some(output_buffers_, ec);
    if (ec == asio::error::would_block || ec == asio::error::try_again) {
      socket_.async_wait(asio::ip::tcp::socket::wait_write,
                         [self = shared_from_this()](const boost::system::error_code& wait_ec) {
                           if (self->closed_) return;
                           if (wait_ec) return self->close();
                           self->write();
                           self->pump();
                         });
      return;
    }
    if (ec) return close();
    on_written(bytes);
  }
  output_.clear();
  output_index_ = 0;
  output_offset_ = 0;
  writing_ = false;
  last_active_us_ = now_us();
  if (close_when_written_) finish();
}

void Connection::on_written(size_t bytes) {
  io_.counters.bytes_sent.fetch_add(bytes, std::memory_order_relaxed);
  write_progress_us_ = now_us();
  output_offset_ += bytes;
  while (output_index_ < output_.size() && output_offset_ >= output_[output_index_].size()) {
    output_offset_ -= output_[output_index_].size();
    std::string().swap(output_[output_index_]);
    ++output_index_;
  }
}

// All is written and we want to close. Closing a socket with unread bytes resets it, and the client may then never see
// the answer; so close our side only, and discard what still comes for a while.
void Connection::finish() {
  if (client_done_ || !slots_.empty()) return close();
  boost::system::error_code ec;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ec);
  if (ec) return close();
  lingering_ = true;
  const int64_t linger_ms = io_.draining() ? io_.config.drain_idle_grace_ms : io_.config.linger_timeout_ms;
  linger_deadline_us_ = now_us() + linger_ms * 1000;
}

void Connection::tick(int64_t now) {
  if (closed_) return;
  const HttpServerConfig& config = io_.config;
  if (lingering_) {
    if (now >= linger_deadline_us_) close();
    return;
  }
  if (writing_) {
    if (now - write_progress_us_ <= config.write_timeout_ms * 1000) return;
    io_.counters.timeouts.fetch_add(1, std::memory_order_relaxed);
    return close();
  }
  if (parser_) {
    const bool in_body = body_started_us_ != 0;
    const int64_t limit_ms = in_body ? config.body_timeout_ms : config.header_timeout_ms;
    if (now - (in_body ? body_started_us_ : request_started_us_) <= limit_ms * 1000) return;
    io_.counters.timeouts.fetch_add(1, std::memory_order_relaxed);
    refuse(408, std::string("The request ") + (in_body ? "body" : "head") + " did not arrive within " +
                    std::to_string(limit_ms) + " ms.");
    return pump();
  }
  if (!nothing_in_flight()) return;
  const int64_t idle_ms = (now - last_active_us_) / 1000;
  const int64_t drain_ms = io_.draining() ? (now - io_.drain_started_us()) / 1000 : 0;
  if (idle_ms > config.idle_timeout_ms ||
      (drain_ms > config.drain_idle_grace_ms && idle_ms > config.drain_idle_grace_ms)) {
    close();
  }
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  const auto self = shared_from_this();
  boost::system::error_code ec;
  socket_.close(ec);
  io_.counters.requests_in_flight.fetch_sub(static_cast<int64_t>(slots_.size()), std::memory_order_relaxed);
  io_.counters.buffered_bytes.fetch_sub(buffered_bytes_, std::memory_order_relaxed);
  while (!slots_.empty()) {
    const auto exchange = std::move(slots_.front());
    slots_.pop_front();
    exchange->detach(true);
  }
  io_.remove(this);
}

}  // namespace quern
