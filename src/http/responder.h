// Responder: the one-shot right to answer one request. Exchange: the request's record inside its connection.
//
// A Responder may be moved to any thread and used there; it may outlive the connection and the server, in which case
// what it sends is dropped. A Responder that dies without having answered sends 500. Answering never throws. Whatever a
// function handed to an Exchange owns is let go as soon as the function has run or cannot run any more, and never under
// the Exchange's lock.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "http/http_types.h"

namespace quern {

class Connection;

/// Shared between a connection (its io thread) and a Responder (any thread).
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Connection* connection, bool head_only, bool keep_alive, int version)
      : connection_(connection), head_only_(head_only), keep_alive_(keep_alive), version_(version) {}

  /// Any thread, once: hands over the answer, or (non-empty `make`) what will make it on the io thread.
  void answer(HttpResponse response, std::function<HttpResponse()> make);
  /// Any thread. See Responder::on_disconnect.
  void on_disconnect(std::function<void()> callback);
  bool disconnected() const { return disconnected_.load(std::memory_order_acquire); }
  bool answered() const { return answered_.load(std::memory_order_acquire); }

 private:
  friend class Connection;

  // Io thread: cuts the tie to the connection; `client_left` says whether to tell the one who computes the answer.
  void detach(bool client_left);
  void deliver();

  std::mutex mutex_;        // guards connection_ against detach(), the functions, and response_ until it is ready
  Connection* connection_;  // null once detached; written on the io thread only
  std::function<void()> on_disconnect_;
  std::function<HttpResponse()> make_;  // when the io thread is to build the answer
  HttpResponse response_;
  std::atomic<bool> disconnected_{false};
  std::atomic<bool> answered_{false};

  // Io thread only.
  bool ready_ = false;
  const bool head_only_;
  const bool keep_alive_;
  const int version_;
};

class Responder {
 public:
  explicit Responder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  Responder(Responder&&) = default;
  Responder& operator=(Responder&&) = delete;
  ~Responder();

  /// Answers. At most one of send() and send_made() may be called, once.
  void send(HttpResponse response);
  /// Answers with what `make` returns (500 when it throws); it runs on the connection's io thread, or never when the
  /// client has left.
  void send_made(std::function<HttpResponse()> make);
  /// Calls back once if the client leaves before the answer was sent: on the io thread, or at once when it has left
  /// already.
  void on_disconnect(std::function<void()> callback);
  bool disconnected() const { return exchange_->disconnected(); }

 private:
  std::shared_ptr<Exchange> exchange_;
};

}  // namespace quern
