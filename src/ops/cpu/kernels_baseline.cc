// The vector kernels for baseline: the shared body compiled for one instruction set.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "ops/cpu/kernels.h"

namespace quern {
namespace {
constexpr int kWidth = 4;
constexpr std::string_view kName = "baseline";
}  // namespace
}  // namespace quern
#define kTable kKernelsBaseline
#include "ops/cpu/kernels.inc"
