// Undoing a body's Content-Encoding, for whoever has decided that the request is to be read, on a thread of its choice.
#pragma once

#include <algorithm>
#include <functional>
#include <string>

#include "base/result.h"
#include "http/http_types.h"

namespace quern {

// simdjson reads past the end of a document; a body with room there needs no copy.
constexpr size_t kBodySlackBytes = 64;
constexpr size_t kBodyFirstBytes = 16 * 1024;

/// Makes room for `needed` bytes, doubling up to `room_max`. False when `hold`, asked before the bytes are there, says
/// so; it is asked for the old room and the new while both are there.
template <typename Hold>
bool make_body_room(std::string& body, size_t needed, size_t room_max, Hold hold) {
  if (needed + kBodySlackBytes <= body.capacity()) return true;
  const size_t doubled = std::min(std::max(2 * body.capacity(), kBodyFirstBytes), room_max);
  const size_t room = std::max(doubled, needed) + kBodySlackBytes;
  if (!hold(room + body.capacity())) return false;
  std::string larger;
  larger.reserve(room);
  larger.append(body);
  body.swap(larger);
  std::string().swap(larger);
  return hold(body.capacity());
}

/// The least budget with which an idle server reads every body that its limits allow: the coded one beside what is
/// decoded of it, and that twice while it moves to a larger room; and a head of many small fields.
int64_t least_budget_bytes(int64_t body_bytes_max, int64_t header_bytes_max);

/// Makes of request.body what it was before it was coded, at most `bytes_max` of it, paid for by the request's lease.
/// `in_vain` is asked for each 64 KiB. Takes up to half a second for 64 MiB: not for an io thread. kInvalidArgument
/// when it is not what its coding says, kPayloadTooLarge, kOverloaded when there is no memory for it, kCancelled in
/// vain.
Result<void> decode_body(HttpRequest& request, int64_t bytes_max, const std::function<bool()>& in_vain);

}  // namespace quern
