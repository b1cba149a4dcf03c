#include "api/base64.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

namespace quern {

namespace {

static_assert(std::endian::native == std::endian::little, "vectors are sent as they lie in memory");

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct Pair {
  char text[2];
};

// Two characters at a time: 12 bits index 8 KB, which stay in the first-level cache.
constexpr std::array<Pair, 4096> make_pairs() {
  std::array<Pair, 4096> pairs{};
  for (int i = 0; i < 4096; ++i) pairs[static_cast<size_t>(i)] = {{kAlphabet[i >> 6], kAlphabet[i & 63]}};
  return pairs;
}
constexpr auto kPairs = make_pairs();

void encode_triple(const unsigned char* in, char* out) {
  const uint32_t bits = static_cast<uint32_t>(in[0]) << 16 | static_cast<uint32_t>(in[1]) << 8 | in[2];
  std::memcpy(out, kPairs[bits >> 12].text, 2);
  std::memcpy(out + 2, kPairs[bits & 4095].text, 2);
}

}  // namespace

void append_base64(std::string& out, std::span<const float> values) {
  const auto* in = reinterpret_cast<const unsigned char*>(values.data());
  const size_t bytes = values.size_bytes();
  const size_t begin = out.size();
  out.resize(begin + (bytes + 2) / 3 * 4);
  char* to = out.data() + begin;
  size_t i = 0;
  for (; i + 3 <= bytes; i += 3, to += 4) encode_triple(in + i, to);
  if (i == bytes) return;
  unsigned char last[3] = {in[i], i + 1 < bytes ? in[i + 1] : static_cast<unsigned char>(0), 0};
  encode_triple(last, to);
  to[3] = '=';
  if (i + 1 == bytes) to[2] = '=';
}

}  // namespace quern
