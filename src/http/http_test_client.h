// A client that does what no library would, and what the transport's tests share.
#pragma once

#include <boost/asio/connect.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>

#include "http/http_server.h"

namespace quern {

constexpr std::string_view kGet = "GET /a?b=c HTTP/1.1\r\nHost: h\r\nX-One: 1\r\n\r\n";

class Client {
 public:
  explicit Client(uint16_t port, const char* address = "127.0.0.1") : socket_(io_) {
    socket_.connect({boost::asio::ip::make_address(address), port});
  }
  void send(std::string_view text) { boost::asio::write(socket_, boost::asio::buffer(text.data(), text.size())); }
  /// Sends what it can: the server may close before it has all.
  void try_send(std::string_view text) {
    boost::system::error_code ec;
    boost::asio::write(socket_, boost::asio::buffer(text.data(), text.size()), ec);
  }
  /// Everything until the server closes.
  std::string read_all() {
    std::string out;
    boost::system::error_code ec;
    boost::asio::read(socket_, boost::asio::dynamic_buffer(out), ec);
    return out;
  }
  /// Everything until `text` has come, or the server closes.
  std::string read_until(std::string_view text) {
    std::string out;
    boost::system::error_code ec;
    char piece[4096];
    while (!ec && out.find(text) == std::string::npos) {
      out.append(piece, socket_.read_some(boost::asio::buffer(piece), ec));
    }
    return out;
  }
  /// At most so many bytes; 0 when the server has closed.
  size_t read_some(size_t bytes_max) {
    std::string piece(bytes_max, '\0');
    boost::system::error_code ec;
    return socket_.read_some(boost::asio::buffer(piece), ec);
  }
  void half_close() { socket_.shutdown(boost::asio::ip::tcp::socket::shutdown_send); }
  void close() { socket_.close(); }
  void reset() {
    socket_.set_option(boost::asio::socket_base::linger(true, 0));
    socket_.close();
  }

 private:
  boost::asio::io_context io_;
  boost::asio::ip::tcp::socket socket_;
};

inline std::string post(std::string_view body, std::string_view headers = "Connection: close\r\n") {
  std::string text = "POST / HTTP/1.1\r\nHost: h\r\n" + std::string(headers);
  return text + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

inline size_t count(std::string_view text, std::string_view what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

inline HttpResponse text_response(std::string body) {
  HttpResponse response;
  response.content_type = "text/plain";
  response.body = std::move(body);
  return response;
}

/// Twenty seconds, for a slow machine; what holds at once returns at once.
template <typename Condition>
bool becomes_true(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

/// For tests that are not about memory.
inline MemoryBudget& ample_budget() {
  static MemoryBudget budget(int64_t{1} << 30);
  return budget;
}

}  // namespace quern
