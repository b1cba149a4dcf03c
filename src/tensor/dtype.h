// Element types of weights and activations, and the scalar conversions between them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace quern {

/// kE4m3 is never stored in a checkpoint: weights and what products read are brought to it (tensor/e4m3.h).
enum class DType { kF32, kBf16, kF16, kE4m3 };

constexpr size_t dtype_bytes(DType dtype) { return dtype == DType::kF32 ? 4 : dtype == DType::kE4m3 ? 1 : 2; }
constexpr std::string_view dtype_name(DType dtype) {
  return dtype == DType::kF32 ? "f32" : dtype == DType::kBf16 ? "bf16" : dtype == DType::kF16 ? "f16" : "fp8";
}

/// Bits of a bfloat16: the upper half of an f32.
using bf16 = uint16_t;

constexpr float bf16_to_f32(bf16 bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// Round to nearest even, as vcvtneps2bf16 does for normal numbers; NaN stays a quiet NaN.
constexpr bf16 f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<bf16>((bits >> 16) | 0x40u);
  return static_cast<bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// Round to nearest even, as the hardware does: beyond 65,504 it is infinite.
constexpr uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return sign | 0x7e00u;
  if (size >= 0x477ff000u) return sign | 0x7c00u;           // 65,520 and above
  if (size < 0x38800000u) {                                 // below 2^-14: subnormal, whose step is 2^-24
    const float steps = std::bit_cast<float>(size) + 0.5f;  // 0.5 has steps of 2^-24: the addition rounds
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(steps) - 0x3f000000u);
  }
  const uint32_t rounded = size + 0xfffu + (size >> 13 & 1u);
  return sign | static_cast<uint16_t>((rounded >> 13) - (112u << 10));
}

/// IEEE half to f32, exact, subnormals included.
constexpr float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

}  // namespace quern
