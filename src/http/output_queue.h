// OutputQueue: answers on their way into one socket, serialised, in order. Used by one connection's io thread.
//
// Owns the bytes, and their share of the memory budget, until the kernel has taken them.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/memory_budget.h"
#include "http/http_types.h"

namespace quern {

/// Bodies up to this size are copied behind their head, so that small answers leave in one piece.
constexpr size_t kSmallBodyBytes = 16 * 1024;

class OutputQueue {
 public:
  bool empty() const { return pieces_.empty(); }
  /// Of bodies that came without a lease.
  int64_t unpaid_bytes() const { return unpaid_bytes_; }
  void add(std::string_view text) { tail().bytes.append(text); }
  /// What the answer's head depends on besides the answer.
  struct Frame {
    std::string_view date;
    int version = 11;  // of the request
    bool head_only = false;
    bool close = false;
  };
  void add(HttpResponse response, const Frame& frame);
  /// Writes what the socket takes now; returns how many bytes. `ec` is would_block when it takes no more.
  size_t write_to(boost::asio::ip::tcp::socket& socket, boost::system::error_code& ec);

 private:
  struct Piece {
    std::string bytes;
    MemoryBudget::Lease lease;
  };
  Piece& tail();
  void drop_written(size_t bytes);

  std::vector<Piece> pieces_;
  std::vector<boost::asio::const_buffer> buffers_;
  size_t index_ = 0;   // the piece under way
  size_t offset_ = 0;  // in it
  int64_t unpaid_bytes_ = 0;
};

}  // namespace quern
