#include "http/responder.h"

#include <boost/asio/post.hpp>

#include "base/check.h"
#include "http/connection.h"

namespace quern {

void Exchange::answer(HttpResponse response, std::function<HttpResponse()> make) {
  std::function<void()> forgotten;  // destroyed after the lock: it may own the last reference to anything
  {
    std::lock_guard lock(mutex_);
    QUERN_CHECK(!answered_.exchange(true), "a request was answered twice");
    forgotten.swap(on_disconnect_);
    if (connection_ == nullptr) return;
    response_ = std::move(response);
    make_ = std::move(make);
    if (!connection_->io().on_thread()) {
      try {
        boost::asio::post(connection_->io().io_context(), [self = shared_from_this()] { self->deliver(); });
      } catch (const std::exception&) {
        connection_->io().deliver_later();  // no memory for the message: the io thread will look for the answer
      }
      return;
    }
  }
  deliver();
}

void Exchange::deliver() {
  std::function<HttpResponse()> make;  // destroyed after the lock, as above
  {
    std::lock_guard lock(mutex_);
    if (connection_ == nullptr || ready_) return;
    make.swap(make_);
  }
  const auto connection = connection_->shared_from_this();
  if (make) {
    try {
      response_ = make();
    } catch (const std::exception& error) {
      connection->io().count_exception("making an answer", error);
      response_ = HttpResponse();
      response_.status = 500;
    }
  }
  connection->pay_for(response_);
  ready_ = true;
  make = nullptr;  // before the answer is on its way: what it owned is gone when the client has it
  connection->pump();
}

void Exchange::on_disconnect(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (!disconnected()) {
      if (connection_ != nullptr && !answered()) on_disconnect_.swap(callback);
      return;
    }
  }
  callback();
}

void Exchange::detach(bool client_left) {
  // Both may own the last reference to the call, and the call owns us: kept, they would be a cycle.
  std::function<void()> callback;
  std::function<HttpResponse()> make;
  HttpResponse response;
  if (connection_ == nullptr) return;
  IoThread& io = connection_->io();
  {
    std::lock_guard lock(mutex_);
    connection_ = nullptr;
    if (client_left && !answered()) disconnected_.store(true, std::memory_order_release);
    callback.swap(on_disconnect_);
    make.swap(make_);
    std::swap(response, response_);
  }
  if (!callback || !disconnected()) return;
  try {
    callback();
  } catch (const std::exception& error) {
    io.count_exception("telling that a client left", error);
  }
}

Responder::~Responder() {
  if (!exchange_ || exchange_->answered()) return;
  HttpResponse response;
  response.status = 500;
  exchange_->answer(std::move(response), nullptr);
}

void Responder::send(HttpResponse response) { exchange_->answer(std::move(response), nullptr); }

void Responder::send_made(std::function<HttpResponse()> make) { exchange_->answer({}, std::move(make)); }

void Responder::on_disconnect(std::function<void()> callback) { exchange_->on_disconnect(std::move(callback)); }

}  // namespace quern
