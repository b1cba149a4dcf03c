// CpuOps: the fast Ops. Matrix products by oneDNN, everything else by vector kernels of this folder.
//
// Owns a thread pool, packed weights' primitives and per-thread scratch. One thread at a time calls it; every call has
// ended when it returns. Results are the same bits for any number of threads.
#pragma once

#include <memory>

#include "ops/ops.h"

namespace quern {

/// `threads` >= 1 counts the caller. The instruction set of the vector kernels is the best of the CPU, or the one that
/// QUERN_CPU_ISA names (baseline, avx2, avx512), and an Error if the CPU has it not; oneDNN's is bounded by
/// ONEDNN_MAX_CPU_ISA. Throws where the system gives no more threads.
Result<std::unique_ptr<Ops>> make_cpu_ops(int threads);

}  // namespace quern
