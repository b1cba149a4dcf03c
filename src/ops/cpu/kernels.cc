#include "ops/cpu/kernels.h"

#include <cstdlib>
#include <string>

#include "base/excerpt.h"

namespace quern {

Result<const Kernels*> select_kernels() {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  std::string allowed = "baseline";
  const Kernels* best = &kKernelsBaseline;
  const char* forced = std::getenv("QUERN_CPU_ISA");
  const std::string_view wanted = forced == nullptr ? "" : forced;
  const Kernels* found = wanted == kKernelsBaseline.name ? best : nullptr;
  for (const auto& [kernels, has] : {std::pair{&kKernelsAvx2, avx2}, std::pair{&kKernelsAvx512, avx512}}) {
    if (!has) continue;
    allowed += ", " + std::string(kernels->name);
    best = kernels;
    if (wanted == kernels->name) found = kernels;
  }
  if (wanted.empty()) return best;
  if (found != nullptr) return found;
  return invalid_argument("QUERN_CPU_ISA: expected one of " + allowed + " on this CPU, found \"" + excerpt(wanted) +
                          "\"");
}

}  // namespace quern
