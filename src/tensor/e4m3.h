// e4m3, the 8-bit float of one sign, four exponent and three mantissa bits (no infinity, up to 448), and how rows of it
// lie: the values, then for each block of 128 of them one exponent e as a signed byte; a value is v * 2^e.
//
// e4m3 is a float, so a scale has only to keep a block from overflow: a power of two in coarse steps loses nothing that
// its three bits would keep, and neighbouring blocks mostly have the same. A weight has one f32 scale for each of its
// rows instead. Pure functions; any thread, host and device.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define QUERN_HOST_DEVICE __host__ __device__
#else
#define QUERN_HOST_DEVICE
#endif

namespace quern {

constexpr float kE4m3Max = 448;
constexpr int64_t kE4m3Block = 128;
constexpr int32_t kE4m3ExponentStep = 4;
constexpr int32_t kE4m3ExponentMin = -124;  // 2^-e stays a normal f32

/// Where a row's exponents begin, and what rows of `cols` values are apart, in bytes.
QUERN_HOST_DEVICE constexpr int64_t e4m3_exponents_begin(int64_t cols) { return (cols + 15) / 16 * 16; }
QUERN_HOST_DEVICE constexpr int64_t e4m3_stride(int64_t cols) {
  return (e4m3_exponents_begin(cols) + (cols + kE4m3Block - 1) / kE4m3Block + 127) / 128 * 128;
}

/// The least step e for which a block whose largest magnitude is `top` fits: top <= 448 * 2^e. 0 for zeros.
QUERN_HOST_DEVICE inline int32_t e4m3_exponent(float top) {
#ifdef __CUDA_ARCH__
  const int32_t bits = __float_as_int(top);
#else
  const int32_t bits = std::bit_cast<int32_t>(top);
#endif
  if (bits <= 0) return 0;
  const int32_t least = (bits >> 23) - 127 - 8 + ((bits & 0x7fffff) > 0x600000 ? 1 : 0);  // 448 = 1.75 * 2^8
  const int32_t up = ((least + 1024 + kE4m3ExponentStep - 1) & ~(kE4m3ExponentStep - 1)) - 1024;
  return up < kE4m3ExponentMin ? kE4m3ExponentMin : up;
}

/// What a block's values are multiplied with before they are rounded; not a number where `top` is none.
QUERN_HOST_DEVICE inline float e4m3_inverse_scale(float top) {
#ifdef __CUDA_ARCH__
  return top <= 3.402823466e38f ? __int_as_float((127 - e4m3_exponent(top)) << 23) : __int_as_float(0x7fc00000);
#else
  return top <= 3.402823466e38f ? std::ldexp(1.0f, -e4m3_exponent(top)) : NAN;
#endif
}

/// Rounds to nearest even; beyond 448 stays 448, NaN stays NaN.
inline uint8_t f32_to_e4m3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint8_t sign = static_cast<uint8_t>(bits >> 24 & 0x80u);
  const float size = std::abs(value);
  if (std::isnan(value)) return 0x7f;
  if (size > kE4m3Max) return sign | 0x7e;
  if (size < 0x1p-6f) return sign | static_cast<uint8_t>(std::nearbyint(size * 0x1p9f));
  const uint32_t rounded = (bits & 0x7fffffffu) + 0x7ffffu + (bits >> 20 & 1u);
  return sign | static_cast<uint8_t>((rounded >> 20) - (120u << 3));
}

inline float e4m3_to_f32(uint8_t bits) {
  const int32_t exponent = bits >> 3 & 0xf;
  const int32_t mantissa = bits & 7;
  if ((bits & 0x7f) == 0x7f) return NAN;
  const float size = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-9f
                                   : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (bits & 0x80) != 0 ? -size : size;
}

/// One row: `cols` values to `row`, of e4m3_stride(cols) bytes. `together`: all blocks take the largest exponent.
inline void quantise_row(const float* values, int64_t cols, bool together, void* row) {
  auto* codes = static_cast<uint8_t*>(row);
  auto* exponents = static_cast<int8_t*>(row) + e4m3_exponents_begin(cols);
  const auto top_of = [&](int64_t begin, int64_t end) {
    float top = 0;
    for (int64_t i = begin; i < end; ++i) top = std::max(top, std::abs(values[i]));  // passes a NaN over: it stays one
    return top;
  };
  const float row_top = top_of(0, cols);
  for (int64_t begin = 0; begin < cols; begin += kE4m3Block) {
    const int64_t end = std::min(cols, begin + kE4m3Block);
    const float top = together ? row_top : top_of(begin, end);
    const float inverse = e4m3_inverse_scale(top);
    for (int64_t i = begin; i < end; ++i) codes[i] = f32_to_e4m3(values[i] * inverse);
    exponents[begin / kE4m3Block] = static_cast<int8_t>(std::isnan(inverse) ? 0 : e4m3_exponent(top));
  }
}

/// Element `i` of such a row.
inline float quantised_value(const void* row, int64_t cols, int64_t i) {
  const auto* exponents = static_cast<const int8_t*>(row) + e4m3_exponents_begin(cols);
  return std::ldexp(e4m3_to_f32(static_cast<const uint8_t*>(row)[i]), exponents[i / kE4m3Block]);
}

/// A weight's row: what its values are multiplied with before they are rounded, and the scale that undoes it.
struct WeightScale {
  float inverse, scale;
};
QUERN_HOST_DEVICE inline WeightScale e4m3_weight_scale(float top) {
  return top > 0 ? WeightScale{kE4m3Max / top, top / kE4m3Max} : WeightScale{0, 0};
}

}  // namespace quern
