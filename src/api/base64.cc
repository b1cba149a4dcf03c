#include "api/base64.h"

#include <immintrin.h>

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

// 24 bytes become 32 characters in ten instructions; reads 28 bytes. Mula and Lemire, "Faster Base64 Encoding and
// Decoding Using AVX2 Instructions", ACM Trans. Web 12, 2018.
__attribute__((target("avx2"))) void encode_24(const unsigned char* in, char* out) {
  const auto load = [](const unsigned char* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); };
  const __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(load(in)), load(in + 12), 1);
  // Each three bytes into four: b1 b0 b2 b1, whose four fields of six bits are then moved to the bottom of their bytes.
  const __m256i spread =
      _mm256_shuffle_epi8(bytes, _mm256_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10,  //
                                                  1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
  const __m256i first_third =
      _mm256_mulhi_epu16(_mm256_and_si256(spread, _mm256_set1_epi32(0x0fc0fc00)), _mm256_set1_epi32(0x04000040));
  const __m256i second_fourth =
      _mm256_mullo_epi16(_mm256_and_si256(spread, _mm256_set1_epi32(0x003f03f0)), _mm256_set1_epi32(0x01000010));
  const __m256i six_bits = _mm256_or_si256(first_third, second_fourth);
  // What to add to make a character of it: the range it is in (0: a-z, 1 to 10: a digit, 11: +, 12: /, 13: A-Z) looks
  // it up.
  const __m256i above_upper = _mm256_subs_epu8(six_bits, _mm256_set1_epi8(51));
  const __m256i upper = _mm256_and_si256(_mm256_cmpgt_epi8(_mm256_set1_epi8(26), six_bits), _mm256_set1_epi8(13));
  const auto digit = static_cast<char>('0' - 52);
  const __m128i one_lane = _mm_setr_epi8('a' - 26, digit, digit, digit, digit, digit, digit, digit, digit, digit, digit,
                                         '+' - 62, '/' - 63, 'A', 0, 0);
  const __m256i distance =
      _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(one_lane), _mm256_or_si256(above_upper, upper));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_add_epi8(six_bits, distance));
}

/// As many blocks of 24 bytes as have the 28 that are read; returns the bytes done.
__attribute__((target("avx2"))) size_t encode_blocks(const unsigned char* in, size_t bytes, char* out) {
  size_t i = 0;
  for (; i + 28 <= bytes; i += 24, out += 32) encode_24(in + i, out);
  return i;
}

}  // namespace

void append_base64(std::string& out, std::span<const float> values) {
  const auto* in = reinterpret_cast<const unsigned char*>(values.data());
  const size_t bytes = values.size_bytes();
  const size_t begin = out.size();
  out.resize(begin + (bytes + 2) / 3 * 4);
  char* to = out.data() + begin;
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  size_t i = has_avx2 ? encode_blocks(in, bytes, to) : 0;
  to += i / 3 * 4;
  for (; i + sizeof(uint64_t) <= bytes; i += 6, to += 8) encode_six(in + i, to);
  for (; i + 3 <= bytes; i += 3, to += 4) encode_triple(in + i, to);
  if (i == bytes) return;
  unsigned char last[3] = {in[i], i + 1 < bytes ? in[i + 1] : static_cast<unsigned char>(0), 0};
  encode_triple(last, to);
  to[3] = '=';
  if (i + 1 == bytes) to[2] = '=';
}

}  // namespace quern
