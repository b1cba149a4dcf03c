// HttpRequest and HttpResponse: what crosses between the transport and the code that answers.
//
// Plain values that own their bytes, and hold their share of the memory budget as long as they live: they can be moved,
// not copied. What is assigned to lets go of all that it held. A request may be moved to any thread; views handed out
// by it live as long as it does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/memory_budget.h"

namespace quern {

/// Assigns by making anew. A string that is assigned a short one keeps its buffer, while the lease that paid for it
/// goes back: the bytes would be held and counted nowhere.
template <typename T>
T& make_anew(T& to, std::type_identity_t<T>&& from) noexcept {
  static_assert(std::is_nothrow_move_constructible_v<T>);
  if (&to == &from) return to;
  std::destroy_at(&to);
  return *std::construct_at(&to, std::move(from));
}

/// How a body was packed for the way here.
enum class ContentCoding { kIdentity, kGzip, kDeflate, kUnknown };

/// One parsed request. The head is kept as one string with offsets into it, so that a request costs few allocations.
class HttpRequest {
 public:
  HttpRequest() = default;
  HttpRequest(HttpRequest&&) = default;
  HttpRequest& operator=(HttpRequest&& other) noexcept { return make_anew(*this, std::move(other)); }

  /// "GET", "POST", ... as sent (methods are case-sensitive).
  std::string_view method() const { return view(method_); }
  /// Path and query, or "*"; scheme and host of an absolute target have been cut off.
  std::string_view target() const { return view(target_); }
  /// The target up to '?', not decoded.
  std::string_view path() const { return target().substr(0, target().find('?')); }
  /// The value of the first header of that name (compared without case), empty when there is none.
  std::string_view header(std::string_view name) const;
  /// Bytes of the head, as this object holds it.
  size_t head_bytes() const { return head_.capacity() + headers_.capacity() * sizeof(headers_[0]); }

  std::string body;                                 // as sent: see decode_body()
  ContentCoding coding = ContentCoding::kIdentity;  // of the body
  /// Pays for head and body; who keeps parts of them, or makes more of them, keeps it or lets it grow.
  MemoryBudget::Lease lease;
  std::string client_address;    // "127.0.0.1:50312"
  int64_t received_us = 0;       // monotonic: when its first byte was parsed
  int64_t body_received_us = 0;  // monotonic: when its last byte was parsed
  bool keep_alive = true;        // what the client asked for
  int version = 11;              // 10 or 11

  /// For the parser: the request line, then headers in order.
  void set_request_line(std::string_view method, std::string_view target);
  void add_header(std::string_view name, std::string_view value);

 private:
  struct Piece {
    uint32_t begin = 0;
    uint32_t size = 0;
  };
  std::string_view view(Piece piece) const { return std::string_view(head_).substr(piece.begin, piece.size); }
  Piece append(std::string_view text);

  std::string head_;
  Piece method_;
  Piece target_;
  std::vector<std::pair<Piece, Piece>> headers_;
};

/// One answer. The transport adds Content-Length, Date and Connection.
struct HttpResponse {
  HttpResponse() = default;
  HttpResponse(HttpResponse&&) = default;
  HttpResponse& operator=(HttpResponse&& other) noexcept { return make_anew(*this, std::move(other)); }

  int status = 200;
  std::string_view content_type = "application/json";  // a literal: an answer of 500 must not allocate
  std::string body;
  /// Pays for a large body until it is written. Left empty, the transport takes one.
  MemoryBudget::Lease lease;
  /// Serialised extra header lines; append through add_header().
  std::string header_lines;

  /// Of a body that no lease pays for.
  int64_t unpaid_bytes() const { return lease.bytes() == 0 ? static_cast<int64_t>(body.capacity()) : 0; }

  /// Appends "name: value". CR, LF and NUL in the value are dropped, so that no input can forge a header.
  void add_header(std::string_view name, std::string_view value);
};

/// "OK", "Not Found", ...; "Unknown" for a status this server never sends.
std::string_view reason_phrase(int status);

/// True when both are equal but for ASCII case.
bool equal_ignoring_case(std::string_view a, std::string_view b);

/// Takes the next item off a comma-separated list, without the spaces around it; perhaps empty.
std::string_view next_list_item(std::string_view& list);

/// Without spaces and tabs at both ends.
std::string_view trim_whitespace(std::string_view text);

}  // namespace quern
