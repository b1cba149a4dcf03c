// Any bytes as HTTP, whole and split at every kind of place: no crash, and the split makes no difference.
#include <cstdint>
#include <optional>
#include <string>

#include "base/check.h"
#include "http/request_parser.h"

namespace {

using quern::HttpRequest;

// Feeds at most `step` new bytes at a time. The requests seen before the first error, as text. (Whether an unfinished
// request is refused already or still waited for may depend on the split.)
std::string parse(std::string_view data, size_t step) {
  using State = quern::RequestParser::State;
  static const quern::HttpServerConfig config = [] {
    quern::HttpServerConfig limits;
    limits.header_bytes_max = 4096;
    limits.body_bytes_max = 1 << 16;
    return limits;
  }();
  quern::MemoryBudget budget(1 << 20);
  std::string seen;
  std::optional<quern::RequestParser> parser;
  std::string input;
  size_t fed = 0;
  while (true) {
    if (!parser) parser.emplace(config, budget);
    const size_t used = parser->feed(input);
    input.erase(0, used);
    if (parser->state() == State::kRefused) return seen;
    if (parser->state() == State::kDone) {
      const HttpRequest& request = parser->request();
      seen.append(request.method()).append(" ").append(request.target()).append(" ").append(request.header("host"));
      seen.append(" ").append(request.body).append("\n");
      parser.reset();
      QUERN_CHECK(budget.used_bytes() == 0, "a request that is gone still holds memory");
      continue;
    }
    if (used > 0 && !input.empty()) continue;
    if (fed == data.size()) return seen;
    const std::string_view next = data.substr(fed, step);
    input.append(next);
    fed += next.size();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 8192) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = parse(text, text.size() + 1);
  const std::string pieces = parse(text, 1 + data[0] % 16);
  QUERN_CHECK(whole == pieces, "the way the bytes were split changed what was parsed");
  return 0;
}
