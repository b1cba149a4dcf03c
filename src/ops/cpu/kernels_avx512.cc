// The vector kernels for avx512: the shared body compiled for one instruction set.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "ops/cpu/kernels.h"

// Below every #include, so that no inline function of a header is compiled for this instruction set.
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")

namespace quern {
namespace {
constexpr int kWidth = 16;
constexpr std::string_view kName = "avx512";
}  // namespace
}  // namespace quern
#define kTable kKernelsAvx512
#include "ops/cpu/kernels.inc"
