#include "http/body_decoding.h"

#include <utility>

#include "base/excerpt.h"
#include "http/content_decoder.h"
#include "http/request_parser.h"

namespace quern {

namespace {

constexpr size_t kSliceBytes = 64 * 1024;
// No encoder writes so many bytes that mean none, and they cost ten times what others do.
constexpr size_t kBarrenBytesMax = 1 << 20;
constexpr const char* kBarren = "The request body is coded so that a MiB of it holds nothing.";

// Of a head: its text and the places of its fields, "a:\r\n" each, both in rooms that double.
constexpr int64_t kHeadBytesPerByte = 2 + 2 * 2 * sizeof(uint64_t) / std::string_view("a:\r\n").size();
constexpr int64_t kHeadBytesMin = 1024;

Error left() { return {ErrorCode::kCancelled, "The client has left.", "", 0}; }

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
      const MemoryBudget& budget = *request_.lease.budget();
      return out_of_budget(budget.bytes_max(), held_bytes_, request_bytes_max(budget));
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

int64_t least_budget_bytes(int64_t body_bytes_max, int64_t header_bytes_max) {
  const int64_t body = body_bytes_max + static_cast<int64_t>(kBodySlackBytes);
  const int64_t requests = 3 * body + static_cast<int64_t>(ContentDecoder::kStateBytes) +
                           kHeadBytesPerByte * header_bytes_max + kHeadBytesMin;
  return requests + requests / 15 + 1;  // see request_bytes_max()
}

Result<void> decode_body(HttpRequest& request, int64_t bytes_max, const std::function<bool()>& in_vain) {
  if (request.coding == ContentCoding::kIdentity) return {};
  DecodedBody decoded(request, bytes_max);
  ContentDecoder decoder(request.coding);
  Result<void> stopped;
  size_t barren_bytes = 0;  // that gave nothing
  const auto take = [&](std::string_view bytes) {
    barren_bytes = 0;
    stopped = in_vain() ? left() : decoded.add(bytes);
    return stopped.ok();
  };
  auto outcome = ContentDecoder::Outcome::kMore;
  std::string_view rest = request.body;
  while (outcome == ContentDecoder::Outcome::kMore && !rest.empty()) {
    if (in_vain()) return left();
    if (barren_bytes > kBarrenBytesMax) return invalid_argument(kBarren);
    const std::string_view slice = rest.substr(0, kSliceBytes);
    barren_bytes += slice.size();
    outcome = decoder.decode(slice, take);
    rest.remove_prefix(slice.size());
  }
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
