// The vector kernels for avx2: the shared body compiled for one instruction set.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "ops/cpu/kernels.h"

// Below every #include, so that no inline function of a header is compiled for this instruction set.
#pragma GCC target("avx2,fma")

namespace quern {
namespace {
constexpr int kWidth = 8;
constexpr std::string_view kName = "avx2";
}  // namespace
}  // namespace quern
#define kTable kKernelsAvx2
#include "ops/cpu/kernels.inc"
