#include "api/base64.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

namespace quern {

namespace {

static_assert(std::endian::native == std::endian::little, "vectors are sent as they lie in memory");

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Two characters at a time, the first in the low byte: 12 bits index 8 KB, which stay in the first-level cache.
constexpr std::array<uint16_t, 4096> make_pairs() {
  std::array<uint16_t, 4096> pairs{};
  for (size_t i = 0; i < pairs.size(); ++i) {
    pairs[i] = static_cast<uint16_t>(static_cast<unsigned char>(kAlphabet[i & 63]) << 8 |
                                     static_cast<unsigned char>(kAlphabet[i >> 6]));
  }
  return pairs;
}
constexpr auto kPairs = make_pairs();

void encode_triple(const unsigned char* in, char* out) {
  const uint32_t bits = static_cast<uint32_t>(in[0]) << 16 | static_cast<uint32_t>(in[1]) << 8 | in[2];
  std::memcpy(out, &kPairs[bits >> 12], 2);
  std::memcpy(out + 2, &kPairs[bits & 4095], 2);
}

// Six bytes become eight characters by one load, four look-ups and one store; reads eight bytes.
void encode_six(const unsigned char* in, char* out) {
  uint64_t bits = 0;
  std::memcpy(&bits, in, sizeof(bits));
  bits = __builtin_bswap64(bits);
  const uint64_t text = kPairs[bits >> 52] | static_cast<uint64_t>(kPairs[bits >> 40 & 4095]) << 16 |
                        static_cast<uint64_t>(kPairs[bits >> 28 & 4095]) << 32 |
                        static_cast<uint64_t>(kPairs[bits >> 16 & 4095]) << 48;
  std::memcpy(out, &text, sizeof(text));
}

}  // namespace

void append_base64(std::string& out, std::span<const float> values) {
  const auto* in = reinterpret_cast<const unsigned char*>(values.data());
  const size_t bytes = values.size_bytes();
  const size_t begin = out.size();
  out.resize(begin + (bytes + 2) / 3 * 4);
  char* to = out.data() + begin;
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= bytes; i += 6, to += 8) encode_six(in + i, to);
  for (; i + 3 <= bytes; i += 3, to += 4) encode_triple(in + i, to);
  if (i == bytes) return;
  unsigned char last[3] = {in[i], i + 1 < bytes ? in[i + 1] : static_cast<unsigned char>(0), 0};
  encode_triple(last, to);
  to[3] = '=';
  if (i + 1 == bytes) to[2] = '=';
}

}  // namespace quern
