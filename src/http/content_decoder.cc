#include "http/content_decoder.h"

#include <algorithm>
#include <array>

#include "http/http_types.h"

namespace quern {

namespace {

constexpr int kGzipWindowBits = 15 + 16;
constexpr int kZlibWindowBits = 15;
constexpr int kRawWindowBits = -15;
constexpr uint32_t kSliceBytesMax = 1 << 30;  // zlib counts in 32 bits

}  // namespace

ContentCoding parse_content_coding(std::string_view value) {
  ContentCoding found = ContentCoding::kIdentity;
  while (!value.empty()) {
    const std::string_view item = next_list_item(value);
    if (item.empty() || equal_ignoring_case(item, "identity")) continue;
    if (found != ContentCoding::kIdentity) return ContentCoding::kUnknown;
    if (equal_ignoring_case(item, "gzip") || equal_ignoring_case(item, "x-gzip")) {
      found = ContentCoding::kGzip;
    } else if (equal_ignoring_case(item, "deflate")) {
      found = ContentCoding::kDeflate;
    } else {
      return ContentCoding::kUnknown;
    }
  }
  return found;
}

ContentDecoder::~ContentDecoder() {
  if (begun_) inflateEnd(&stream_);
}

// "deflate" is zlib's format, but some send the bare stream inside it. They differ in the first byte: zlib's low half
// is 8 there, which no encoder writes as the head of a bare stream (a stored block whose padding is not zero).
bool ContentDecoder::begin(unsigned char first) {
  const bool zlib_format = (first & 0x8F) == 8;
  const int bits = coding_ == ContentCoding::kGzip ? kGzipWindowBits : zlib_format ? kZlibWindowBits : kRawWindowBits;
  begun_ = inflateInit2(&stream_, bits) == Z_OK;
  return begun_;
}

ContentDecoder::Outcome ContentDecoder::decode(std::string_view bytes,
                                               const std::function<bool(std::string_view)>& take) {
  std::array<char, kPieceBytes> piece;
  while (!bytes.empty()) {
    if (!begun_ && !begin(static_cast<unsigned char>(bytes[0]))) return Outcome::kNoMemory;
    if (ended_) {
      // RFC 1952 2.2: a gzip file is a series of members.
      if (coding_ != ContentCoding::kGzip || inflateReset(&stream_) != Z_OK) return Outcome::kMalformed;
      ended_ = false;
    }
    const auto slice = static_cast<uInt>(std::min<size_t>(bytes.size(), kSliceBytesMax));
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = slice;
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream_.avail_out = kPieceBytes;
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_MEM_ERROR) return Outcome::kNoMemory;
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return Outcome::kMalformed;
      ended_ = result == Z_STREAM_END;
      const size_t made = kPieceBytes - stream_.avail_out;
      if (made > 0 && !take({piece.data(), made})) return Outcome::kStopped;
    } while (!ended_ && stream_.avail_out == 0);
    bytes.remove_prefix(slice - stream_.avail_in);
  }
  return Outcome::kMore;
}

}  // namespace quern
