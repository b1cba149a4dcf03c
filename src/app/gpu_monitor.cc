#include "app/gpu_monitor.h"

#include <dlfcn.h>

#include <chrono>
#include <map>
#include <utility>

namespace quern {
namespace {

using Handle = void*;
using Wide = unsigned long long;  // NOLINT: as NVML's header has it

// Of nvml.h, whose binary interface is stable.
constexpr unsigned kUuidBytes = 96;
constexpr unsigned kCoreTemperature = 0, kSmClock = 1, kMemoryClock = 2, kSinceStart = 0;
constexpr Wide kXidEvent = 8;
struct MemoryInfo {
  Wide total, free, used;
};
struct Utilization {
  unsigned gpu, memory;
};
struct EventData {
  Handle device;
  Wide type, data;
  unsigned gpu_instance, compute_instance;
};
constexpr std::pair<Wide, const char*> kReasons[] = {{0x4, "power_cap"},
                                                     {0x8, "hardware_slowdown"},
                                                     {0x20, "software_thermal"},
                                                     {0x40, "hardware_thermal"},
                                                     {0x80, "power_brake"}};

}  // namespace

/// The entries that are used; one that an old driver lacks is null, and its metrics are absent.
struct GpuMonitor::Nvml {
  void* object = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*handle)(const char*, Handle*) = nullptr;
  int (*index)(Handle, unsigned*) = nullptr;
  int (*uuid)(Handle, char*, unsigned) = nullptr;
  int (*memory)(Handle, MemoryInfo*) = nullptr;
  int (*utilization)(Handle, Utilization*) = nullptr;
  int (*temperature)(Handle, unsigned, unsigned*) = nullptr;
  int (*power)(Handle, unsigned*) = nullptr;
  int (*clock)(Handle, unsigned, unsigned*) = nullptr;
  int (*reasons)(Handle, Wide*) = nullptr;
  int (*ecc)(Handle, unsigned, unsigned, Wide*) = nullptr;
  int (*make_set)(Handle*) = nullptr;
  int (*watch)(Handle, Wide, Handle) = nullptr;
  int (*wait)(Handle, EventData*, unsigned) = nullptr;
  Handle events = nullptr;

  template <typename Entry>
  void find(Entry& entry, const char* name) const {
    entry = reinterpret_cast<Entry>(dlsym(object, name));
  }
  bool open(const std::string& library) {
    object = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (object == nullptr) return false;
    find(init, "nvmlInit_v2");
    find(shutdown, "nvmlShutdown");
    find(handle, "nvmlDeviceGetHandleByPciBusId_v2");
    find(index, "nvmlDeviceGetIndex");
    find(uuid, "nvmlDeviceGetUUID");
    find(memory, "nvmlDeviceGetMemoryInfo");
    find(utilization, "nvmlDeviceGetUtilizationRates");
    find(temperature, "nvmlDeviceGetTemperature");
    find(power, "nvmlDeviceGetPowerUsage");
    find(clock, "nvmlDeviceGetClockInfo");
    find(reasons, "nvmlDeviceGetCurrentClocksThrottleReasons");
    find(ecc, "nvmlDeviceGetTotalEccErrors");
    find(make_set, "nvmlEventSetCreate");
    find(watch, "nvmlDeviceRegisterEvents");
    find(wait, "nvmlEventSetWait_v2");
    return init != nullptr && shutdown != nullptr && handle != nullptr && index != nullptr && uuid != nullptr;
  }
};

struct GpuMonitor::Gpu {
  Metrics& metrics;
  Handle handle = nullptr;
  Metrics::Labels labels;
  std::map<std::string, prometheus::Gauge*> gauges = {};  // by name and label
  prometheus::Counter* xids = nullptr;

  /// The metric is there from the first figure on.
  void set(const char* name, const char* help, double value, const char* label = "", const char* of = "") {
    prometheus::Gauge*& gauge = gauges[std::string(name) + of];
    if (gauge == nullptr) {
      Metrics::Labels all = labels;
      if (*label != '\0') all[label] = of;
      gauge = &metrics.gauge(name, help, all);
    }
    gauge->Set(value);
  }
};

Result<std::unique_ptr<GpuMonitor>> GpuMonitor::start(Metrics& metrics, const std::string& bus_id,
                                                      const std::string& library) {
  auto nvml = std::make_unique<Nvml>();
  if (!nvml->open(library)) {
    const char* reason = dlerror();
    return Error{ErrorCode::kUnavailable, library + ": " + (reason == nullptr ? "not NVML" : reason), "", 0};
  }
  if (const int status = nvml->init(); status != 0)
    return Error{ErrorCode::kUnavailable, library + ": nvmlInit gave " + std::to_string(status), "", 0};
  std::unique_ptr<GpuMonitor> monitor(new GpuMonitor(std::move(nvml)));
  Nvml& n = *monitor->nvml_;
  Handle handle = nullptr;
  unsigned index = 0;
  char uuid[kUuidBytes] = "";
  if (n.handle(bus_id.c_str(), &handle) != 0 || n.index(handle, &index) != 0 || n.uuid(handle, uuid, kUuidBytes) != 0)
    return Error{ErrorCode::kUnavailable, library + ": it knows no GPU at PCI bus id \"" + bus_id + "\"", "", 0};
  monitor->gpu_.reset(new Gpu{metrics, handle, {{"gpu", std::to_string(index)}, {"uuid", uuid}}});
  if (n.make_set != nullptr && n.watch != nullptr && n.wait != nullptr && n.make_set(&n.events) == 0 &&
      n.watch(handle, kXidEvent, n.events) == 0) {
    Gpu& gpu = *monitor->gpu_;
    gpu.xids = &metrics.counter("quern_gpu_xid_events_total", "Xid events: errors that the driver reports", gpu.labels);
  }
  monitor->sample();
  monitor->thread_ = std::thread([m = monitor.get()] { m->loop(); });
  return monitor;
}

GpuMonitor::GpuMonitor(std::unique_ptr<Nvml> nvml) : nvml_(std::move(nvml)) {}

GpuMonitor::~GpuMonitor() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  (void)nvml_->shutdown();
}

void GpuMonitor::loop() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::seconds(1), [this] { return stopping_; })) {
    lock.unlock();
    sample();
    take_events();
    lock.lock();
  }
}

void GpuMonitor::sample() {
  const Nvml& n = *nvml_;
  Gpu& gpu = *gpu_;
  MemoryInfo memory{};
  if (n.memory != nullptr && n.memory(gpu.handle, &memory) == 0) {
    gpu.set("quern_gpu_memory_used_bytes", "The driver's figure, all processes", static_cast<double>(memory.used));
    gpu.set("quern_gpu_memory_bytes", "Memory of the GPU", static_cast<double>(memory.total));
  }
  Utilization busy{};
  if (n.utilization != nullptr && n.utilization(gpu.handle, &busy) == 0)
    gpu.set("quern_gpu_utilization_ratio", "Share of the time in which a kernel ran", 0.01 * busy.gpu);
  unsigned value = 0;
  if (n.temperature != nullptr && n.temperature(gpu.handle, kCoreTemperature, &value) == 0)
    gpu.set("quern_gpu_temperature_celsius", "Temperature of the GPU", value);
  if (n.power != nullptr && n.power(gpu.handle, &value) == 0)
    gpu.set("quern_gpu_power_watts", "Power drawn", 1e-3 * value);
  for (const auto& [clock, of] : {std::pair(kSmClock, "sm"), std::pair(kMemoryClock, "memory")}) {
    if (n.clock != nullptr && n.clock(gpu.handle, clock, &value) == 0)
      gpu.set("quern_gpu_clock_hertz", "Clocks", 1e6 * value, "clock", of);
  }
  Wide wide = 0;
  if (n.reasons != nullptr && n.reasons(gpu.handle, &wide) == 0) {
    for (const auto& [bit, of] : kReasons) {
      gpu.set("quern_gpu_throttled", "1 while clocks are held down for it", (wide & bit) != 0 ? 1 : 0, "reason", of);
    }
  }
  for (const auto& [kind, of] : {std::pair(0U, "corrected"), std::pair(1U, "uncorrected")}) {
    if (n.ecc != nullptr && n.ecc(gpu.handle, kind, kSinceStart, &wide) == 0)
      gpu.set("quern_gpu_ecc_errors", "ECC errors since the driver started", static_cast<double>(wide), "kind", of);
  }
}

/// Those that have happened; it waits for none.
void GpuMonitor::take_events() {
  constexpr int kAtOnceMax = 64;
  EventData event{};
  for (int i = 0; gpu_->xids != nullptr && i < kAtOnceMax && nvml_->wait(nvml_->events, &event, 0) == 0; ++i) {
    gpu_->xids->Increment();
    gpu_->set("quern_gpu_last_xid", "Number of the last Xid event", static_cast<double>(event.data));
  }
}

}  // namespace quern
