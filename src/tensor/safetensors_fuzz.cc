// Any bytes as a safetensors file: no crash, and every accepted tensor lies inside the file.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "tensor/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto entries = quern::parse_safetensors_header(bytes, size, "fuzz");
  if (!entries) return 0;
  for (const auto& entry : *entries) {
    QUERN_CHECK(entry.begin <= entry.end && entry.end <= size, "a tensor leaves its file");
  }
  return 0;
}
