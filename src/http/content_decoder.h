// ContentDecoder: the bytes of a compressed request body in, the body out (RFC 9110 8.4.1: gzip, x-gzip, deflate).
//
// Owns zlib's state, kStateBytes of it. Hands the body on in pieces of at most kPieceBytes, so that whoever takes them
// can stop at its limit before a bomb has filled anything. One per body; one thread at a time.
#pragma once

#include <zlib.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "http/http_types.h"

namespace quern {

/// What a Content-Encoding field asks for. Only one coding is undone: a list of two is kUnknown.
ContentCoding parse_content_coding(std::string_view value);

/// For Accept-Encoding, and for messages.
constexpr std::string_view kContentCodings = "gzip, deflate";

class ContentDecoder {
 public:
  static constexpr size_t kPieceBytes = 16 * 1024;
  static constexpr size_t kStateBytes = 48 * 1024;  // a window of 32 KiB and zlib's tables

  /// `coding` is kGzip or kDeflate.
  explicit ContentDecoder(ContentCoding coding) : coding_(coding) {}
  ~ContentDecoder();
  ContentDecoder(const ContentDecoder&) = delete;
  ContentDecoder& operator=(const ContentDecoder&) = delete;

  enum class Outcome { kMore, kStopped, kMalformed, kNoMemory };
  /// Decodes all of `bytes`. kStopped: `take` returned false. After anything but kMore, the decoder is of no use.
  Outcome decode(std::string_view bytes, const std::function<bool(std::string_view)>& take);
  /// Whether the compressed data has come to its end.
  bool is_whole() const { return ended_; }

 private:
  bool begin(unsigned char first);

  const ContentCoding coding_;
  z_stream stream_{};
  bool begun_ = false;
  bool ended_ = false;
};

}  // namespace quern
