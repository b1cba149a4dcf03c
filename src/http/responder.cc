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
    forgotten = std::move(on_disconnect_);
    on_disconnect_ = nullptr;
    if (connection_ == nullptr) return;
    response_ = std::move(response);
    make_ = std::move(make);
    if (!connection_->on_io_thread()) {
      boost::asio::post(connection_->io_context(), [self = shared_from_this()] { self->deliver(); });
      return;
    }
  }
  deliver();
}

void Exchange::deliver() {
  if (connection_ == nullptr) return;
  if (make_) {
    response_ = make_();
    make_ = nullptr;
  }
  ready_ = true;
  connection_->pump();
}

void Exchange::on_disconnect(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (!disconnected()) {
      if (connection_ != nullptr && !answered()) on_disconnect_ = std::move(callback);
      return;
    }
  }
  callback();
}

void Exchange::detach(bool client_left) {
  std::function<void()> callback;
  {
    std::lock_guard lock(mutex_);
    connection_ = nullptr;
    if (client_left && !answered()) disconnected_.store(true, std::memory_order_release);
    callback = std::move(on_disconnect_);
    on_disconnect_ = nullptr;
  }
  if (callback && disconnected()) callback();
}

Responder::~Responder() {
  if (exchange_ && !exchange_->answered()) {
    HttpResponse response;
    response.status = 500;
    exchange_->answer(std::move(response), nullptr);
  }
}

void Responder::send(HttpResponse response) { exchange_->answer(std::move(response), nullptr); }

void Responder::send_made(std::function<HttpResponse()> make) { exchange_->answer({}, std::move(make)); }

void Responder::on_disconnect(std::function<void()> callback) { exchange_->on_disconnect(std::move(callback)); }

}  // namespace quern
