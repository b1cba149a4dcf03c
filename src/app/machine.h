// Machine: how much of this machine the process may use: cores, memory, as the kernel and its control groups say; and
// whether the driver of a GPU has put one there.
//
// Pure reads of /proc, /sys and /dev; any thread.
#pragma once

#include <cstdint>
#include <string>

namespace quern {

struct MachineLimits {
  /// Cores that the affinity mask and cpu.max leave, at least 1; a fraction of a core is not counted: a thread on it
  /// would hold up the others at every barrier.
  int32_t cpus = 1;
  /// What can still be taken: MemAvailable, or less where a control group's limit leaves less. Page cache that the
  /// group can give back counts as available.
  int64_t memory_available_bytes = 0;
  /// "MemAvailable" or the control group's file, for messages.
  std::string memory_source;
  /// NVIDIA's driver shows a card, usable or not: /dev/nvidia0 or 1, or /dev/dxg under Windows.
  bool has_gpu = false;
};

/// Control groups of version 2 and 1, from the process's own group up to the root. `root` is "/" but in tests.
MachineLimits read_machine_limits(const std::string& root = "/");

}  // namespace quern
