#include "http/output_queue.h"

#include <charconv>

namespace quern {

namespace {

constexpr size_t kWriteBuffersMax = 16;

}  // namespace

// The piece that small things are appended to.
OutputQueue::Piece& OutputQueue::tail() {
  if (pieces_.empty() || pieces_.back().bytes.size() > kSmallBodyBytes) pieces_.emplace_back().bytes.reserve(256);
  return pieces_.back();
}

void OutputQueue::add(HttpResponse response, const Frame& frame) {
  Piece& piece = tail();
  std::string& out = piece.bytes;
  char digits[24];
  const auto number = [&digits](auto value) {
    return std::string_view(digits, std::to_chars(digits, digits + sizeof digits, value).ptr - digits);
  };
  out.append("HTTP/1.1 ").append(number(response.status)).append(" ").append(reason_phrase(response.status));
  out.append("\r\nDate: ").append(frame.date);
  if (response.status != 204) {
    out.append("\r\nContent-Type: ").append(response.content_type);
    out.append("\r\nContent-Length: ").append(number(response.body.size()));
  }
  out.append("\r\n").append(response.header_lines);
  if (frame.close) {
    out.append("Connection: close\r\n");
  } else if (frame.version == 10) {
    out.append("Connection: keep-alive\r\n");
  }
  out.append("\r\n");
  if (frame.head_only || response.status == 204) return;
  unpaid_bytes_ += response.unpaid_bytes();
  if (response.body.size() <= kSmallBodyBytes && piece.lease.absorb(response.lease)) {
    out.append(response.body);
  } else {
    pieces_.push_back({std::move(response.body), std::move(response.lease)});
  }
}

size_t OutputQueue::write_to(boost::asio::ip::tcp::socket& socket, boost::system::error_code& ec) {
  size_t written = 0;
  ec = {};
  while (!ec && index_ < pieces_.size()) {
    buffers_.clear();
    for (size_t i = index_; i < pieces_.size() && buffers_.size() < kWriteBuffersMax; ++i) {
      buffers_.emplace_back(pieces_[i].bytes.data(), pieces_[i].bytes.size());
    }
    buffers_.front() += offset_;
    const size_t bytes = socket.write_some(buffers_, ec);
    drop_written(bytes);
    written += bytes;
  }
  if (index_ == pieces_.size()) {
    pieces_.clear();
    index_ = offset_ = 0;
    unpaid_bytes_ = 0;
  }
  return written;
}

void OutputQueue::drop_written(size_t bytes) {
  offset_ += bytes;
  while (index_ < pieces_.size() && offset_ >= pieces_[index_].bytes.size()) {
    offset_ -= pieces_[index_].bytes.size();
    make_anew(pieces_[index_], Piece());
    ++index_;
  }
}

}  // namespace quern
