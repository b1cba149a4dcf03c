// Any bytes as tokenizer.json, and any bytes as text: decode(encode(x)) == NFC(x) where x is valid UTF-8.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "tokenizer/tiny_tokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const quern::Tokenizer tiny = quern::Tokenizer::from_json(quern::tiny_tokenizer_json(), "tiny.json").value();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto loaded = quern::Tokenizer::from_json(bytes, "fuzz.json");
  if (loaded) (void)loaded->encode("it's 12\n <x>");
  auto ids = tiny.encode(bytes);
  QUERN_CHECK(ids.ok() == (quern::valid_utf8_prefix(bytes) == size), "encode() fails on invalid UTF-8 and only there");
  if (!ids) return 0;
  QUERN_CHECK(ids->back() == tiny.eos_id(), "the end-of-sequence token is last");
  ids->pop_back();
  // A token written in the text stops composition with what follows it; such texts need not come back as one NFC.
  if (bytes.find("<eos>") != bytes.npos) return 0;
  std::string buffer;
  QUERN_CHECK(tiny.decode(*ids, false).value() == quern::to_nfc(bytes, buffer), "text comes back in NFC");
  return 0;
}
