// Any bytes as tokenizer.json, and any bytes as text: decode(encode(x)) == NFC(x) where x is valid UTF-8, and a cut
// text has the ids of the whole, cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "tokenizer/encoder.h"
#include "tokenizer/tiny_tokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace {

void check_cuts(const quern::Tokenizer& tokenizer, std::string_view text, const std::vector<int32_t>& all) {
  for (const size_t tokens_max : {size_t{1}, all.size() / 3 + 1, all.size() - all.size() / 8, all.size() + 1}) {
    const size_t kept = std::min(tokens_max, all.size());
    const auto first =
        tokenizer.encode(text, {.tokens_max = tokens_max, .truncation = quern::Truncation::kRight}).value();
    QUERN_CHECK(first.size() == kept && std::equal(first.begin(), first.end() - 1, all.begin()), "cut at the end");
    const auto last =
        tokenizer.encode(text, {.tokens_max = tokens_max, .truncation = quern::Truncation::kLeft}).value();
    QUERN_CHECK(last.size() == kept && std::equal(last.rbegin(), last.rend(), all.rbegin()), "cut at the start");
  }
}

/// However `text` goes on, its ids begin with those that a beginning of it is sure of; and end with those of its rest.
void check_parts(const quern::TokenizerTables& tables, std::string_view text, const std::vector<int32_t>& all) {
  for (size_t at = text.size() / 2; at <= text.size(); at += text.size() / 4 + 1) {
    const std::string_view begin = text.substr(0, quern::valid_utf8_prefix(text.substr(0, at)));
    quern::Encoder encoder(tables);
    QUERN_CHECK(encoder.add_text(begin, quern::Ending::kOpen).ok(), "the scanner does not fail");
    const std::vector<int32_t>& ids = encoder.ids();
    QUERN_CHECK(ids.size() < all.size() && std::equal(ids.begin(), ids.end(), all.begin()), "sure ids stay");
    if (at == text.size()) continue;
    const size_t start = quern::last_safe_start(tables, text, at);
    quern::Encoder rest(tables);
    QUERN_CHECK(rest.add_ending(text.substr(start), start > 0, text.size() - at).ok(), "the scanner does not fail");
    QUERN_CHECK(rest.ids().size() < all.size() && std::equal(rest.ids().rbegin(), rest.ids().rend(), all.rbegin() + 1),
                "the rest stays");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const quern::Tokenizer tiny = quern::Tokenizer::from_json(quern::tiny_tokenizer_json(), "tiny.json").value();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto loaded = quern::Tokenizer::from_json(bytes, "fuzz.json");
  if (loaded) (void)loaded->encode("it's 12\n <x>");
  auto ids = tiny.encode(bytes);
  QUERN_CHECK(ids.ok() == (quern::valid_utf8_prefix(bytes) == size), "encode() fails on invalid UTF-8 and only there");
  if (!ids) return 0;
  QUERN_CHECK(ids->back() == tiny.eos_id(), "the end token is last");
  static const quern::TokenizerTables tables = [] {
    auto parsed = quern::parse_tokenizer_json(quern::tiny_tokenizer_json(), "tiny.json").value();
    parsed.serial = UINT32_MAX;  // in the word cache, apart from `tiny`
    return parsed;
  }();
  check_cuts(tiny, bytes, *ids);
  if (!bytes.empty()) check_parts(tables, bytes, *ids);
  ids->pop_back();
  // A token written in the text stops composition with what follows it; such texts need not come back as one NFC.
  if (bytes.find("<eos>") != bytes.npos) return 0;
  std::string buffer;
  QUERN_CHECK(tiny.decode(*ids, false).value() == quern::to_nfc(bytes, buffer), "text comes back in NFC");
  return 0;
}
