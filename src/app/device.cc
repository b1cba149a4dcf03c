#include "app/device.h"

#include <exception>
#include <limits>

#include "base/ascii.h"
#include "base/excerpt.h"
#include "observe/log.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cuda/cuda_ops.h"

namespace quern {
namespace {

constexpr std::string_view kCuda = "cuda";

Error bad_device(std::string_view text) {
  return invalid_argument("is \"" + excerpt(text) + "\"; allowed: auto, cpu, cuda, cuda:N", "--device");
}

/// N of "cuda:N", 0 of "cuda".
Result<int> device_index(std::string_view text) {
  if (text == kCuda) return 0;
  if (!text.starts_with(kCuda) || text[kCuda.size()] != ':') return bad_device(text);
  const auto index = parse_integer(text.substr(kCuda.size() + 1), 0, std::numeric_limits<int>::max());
  if (!index) return bad_device(text);
  return static_cast<int>(*index);
}

Result<OpenDevice> open_cpu(const ModelOptions& options, const MachineLimits& machine) {
  auto ops = make_cpu_ops(thread_count(options, machine));
  if (!ops) return ops.error();
  Device device;
  device.name = "cpu";
  device.model = (*ops)->name();
  return OpenDevice{std::move(device), std::move(*ops)};
}

Result<OpenDevice> open_cuda(int index) {
  CudaOptions options;
  options.device = index;
  auto ops = open_cuda_ops(options);
  if (!ops) return ops.error();
  Device device;
  device.name = "cuda:" + std::to_string(index);
  device.model = (*ops)->name();
  try {
    device.room = (*ops)->room();
    device.bus_id = (*ops)->bus_id();
  } catch (const std::exception& error) {
    return Error{ErrorCode::kUnavailable, device.name + ": " + error.what(), "--device", 0};
  }
  return OpenDevice{std::move(device), std::move(*ops)};
}

}  // namespace

int32_t thread_count(const ModelOptions& options, const MachineLimits& machine) {
  return options.threads > 0 ? options.threads : machine.cpus;
}

Result<OpenDevice> open_device(const ModelOptions& options, const MachineLimits& machine) {
  const std::string& wanted = options.device;
  if (wanted == "cpu") return open_cpu(options, machine);
  if (wanted != "auto") {
    const auto index = device_index(wanted);
    if (!index) return index.error();
    return open_cuda(*index);
  }
  auto cuda = open_cuda(0);
  if (cuda) return cuda;
  auto cpu = open_cpu(options, machine);
  if (cpu) cpu->device.notice = cuda.error().message;
  if (cpu) cpu->device.passes_gpu_by = machine.has_gpu;
  return cpu;
}

void log_device(const Device& device) {
  const bool warns = device.passes_gpu_by;
  log_line(warns ? LogLevel::kWarn : LogLevel::kInfo,
           warns ? "a GPU is there and is not used: the CPU computes" : "device",
           {{"quern.device", device.name}, {"quern.device_model", device.model}, {"quern.notice", device.notice}});
}

Result<void> check_memory(const MemoryPlan& plan, const MachineLimits& machine, const Device& device) {
  if (!device.is_gpu()) return check_memory(plan, machine);
  MemoryPlan there = plan;
  there.requests_bytes = there.requests_bytes_min = 0;
  const MachineLimits room{machine.cpus, static_cast<int64_t>(device.room->free_bytes), "free on " + device.name};
  if (auto fits = check_memory(there, room); !fits) return fits;
  if (plan.requests_bytes <= machine.memory_available_bytes) return {};
  return invalid_argument("is " + std::to_string(plan.requests_bytes) + "; " +
                              bytes_text(machine.memory_available_bytes) + " are available (" + machine.memory_source +
                              ")",
                          "--max-buffered-bytes");
}

}  // namespace quern
