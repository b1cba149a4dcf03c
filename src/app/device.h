// Device: what the model is computed on, chosen by --device and opened: the CPU, or one GPU.
//
// Device is what is known of it, a plain value; OpenDevice has its Ops until the model takes them. The one place that
// names ops/cpu and ops/cuda. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "app/machine.h"
#include "app/memory_plan.h"
#include "app/options.h"
#include "base/result.h"
#include "ops/ops.h"

namespace quern {

struct Device {
  std::string name;                // "cpu", "cuda:0": the label of metrics
  std::string model;               // the processor's instruction set, or the card's name
  std::string bus_id;              // of a GPU: see Ops
  std::string notice;              // why auto took the CPU; else empty
  bool passes_gpu_by = false;      // so it did though the driver shows a card
  std::optional<DeviceRoom> room;  // when it was opened; nothing where the memory is the host's

  bool is_gpu() const { return room.has_value(); }
  /// What a step holds at most where no flag says so, and how many may be in flight.
  int32_t default_batch_tokens() const { return is_gpu() ? 8192 : 1024; }
  /// While short queries come; 0: the same.
  int32_t default_query_batch_tokens() const { return is_gpu() ? 2048 : 0; }
  int32_t default_batch_spans() const { return 256; }
  int32_t batches_in_flight_max() const { return is_gpu() ? 2 : 1; }
};

struct OpenDevice {
  Device device;
  std::unique_ptr<Ops> ops;
};

/// --threads, or one for each core that the machine leaves us.
int32_t thread_count(const ModelOptions& options, const MachineLimits& machine);

/// --device: auto (a GPU where libquern_cuda.so is found and opens one, else the CPU), cpu, cuda or cuda:N. A GPU that
/// was asked for by name and cannot be had is an Error that says what is missing and where it was looked for.
Result<OpenDevice> open_device(const ModelOptions& options, const MachineLimits& machine);

/// The log's line about what computes: a warning where a card that seems to be there is not used.
void log_device(const Device& device);

/// The same as check_memory(), with the model's part in the device's memory.
Result<void> check_memory(const MemoryPlan& plan, const MachineLimits& machine, const Device& device);

}  // namespace quern
