#include "http/body_decoding.h"

#include <utility>

#include "base/excerpt.h"
#include "http/content_decoder.h"
#include "http/request_parser.h"

namespace quern {

namespace {

/// What is decoded so far, beside the request that it replaces the body of.
class DecodedBody {
 public:
  DecodedBody(HttpRequest& request, int64_t bytes_max)
      : request_(request), bytes_max_(static_cast<size_t>(bytes_max)) {}

  Result<void> add(std::string_view bytes) {
    const size_t needed = body_.size() + bytes.size();
    if (needed > bytes_max_) {
      return Error{ErrorCode::kPayloadTooLarge,
                   "The request body is larger than " + std::to_string(bytes_max_) + " bytes, decoded.", "", 0};
    }
    const auto hold = [this](size_t room) {
      held_bytes_ =
          static_cast<int64_t>(request_.head_bytes() + request_.body.capacity() + room + ContentDecoder::kStateBytes);
      return hold_for_request(*request_.lease.budget(), request_.lease, held_bytes_);
    };
    if (request_.lease.budget() != nullptr && !make_body_room(body_, needed, bytes_max_, hold)) {
      return out_of_budget(request_bytes_max(*request_.lease.budget()), held_bytes_);
    }
    body_.append(bytes);
    return {};
  }

  void replace() {
    request_.body = std::move(body_);
    request_.coding = ContentCoding::kIdentity;
    (void)request_.lease.resize(static_cast<int64_t>(request_.head_bytes() + request_.body.capacity()));
  }

 private:
  HttpRequest& request_;
  const size_t bytes_max_;
  std::string body_;
  int64_t held_bytes_ = 0;
};

}  // namespace

Result<void> decode_body(HttpRequest& request, int64_t bytes_max, const std::function<bool()>& in_vain) {
  if (request.coding == ContentCoding::kIdentity) return {};
  DecodedBody decoded(request, bytes_max);
  ContentDecoder decoder(request.coding);
  Result<void> stopped;
  const auto outcome = decoder.decode(request.body, [&](std::string_view bytes) {
    stopped = in_vain() ? Error{ErrorCode::kCancelled, "The client has left.", "", 0} : decoded.add(bytes);
    return stopped.ok();
  });
  if (outcome == ContentDecoder::Outcome::kStopped) return stopped;
  if (outcome == ContentDecoder::Outcome::kNoMemory) {
    return Error{ErrorCode::kOverloaded, "There is no memory to decode the request body; try again later.", "", 1};
  }
  if (outcome == ContentDecoder::Outcome::kMalformed || !decoder.is_whole()) {
    const bool cut = outcome != ContentDecoder::Outcome::kMalformed;
    return invalid_argument(std::string(cut ? "The request body ends before its Content-Encoding, \""
                                            : "The request body is not what its Content-Encoding, \"") +
                            excerpt(request.header("content-encoding")) +
                            (cut ? "\", says that it is whole." : "\", says."));
  }
  decoded.replace();
  return {};
}

}  // namespace quern
