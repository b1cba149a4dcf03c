#include "ops/cpu/kernels.h"

#include <cstdlib>

namespace quern {

const Kernels& select_kernels() {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const char* forced = std::getenv("QUERN_CPU_ISA");
  const std::string_view isa = forced == nullptr ? "" : forced;
  if (avx512 && isa != "avx2" && isa != "baseline") return kKernelsAvx512;
  if (avx2 && isa != "baseline") return kKernelsAvx2;
  return kKernelsBaseline;
}

}  // namespace quern
