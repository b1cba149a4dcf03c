#include "app/gpu_monitor.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace quern {
namespace {

using Handle = void*;
using Wide = unsigned long long;  // NOLINT: as NVML's header has it

// Of nvml.h, whose binary interface is stable.
constexpr unsigned kGpusMax = 16;
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

/// The entries that are used; one that an old driver lacks is null, and its metrics stay 0.
struct GpuMonitor::Nvml {
  void* object = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*handle)(unsigned, Handle*) = nullptr;
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
    find(count, "nvmlDeviceGetCount_v2");
    find(handle, "nvmlDeviceGetHandleByIndex_v2");
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
    return init != nullptr && shutdown != nullptr && count != nullptr && handle != nullptr;
  }
};

struct GpuMonitor::Gpu {
  Handle handle = nullptr;
  prometheus::Gauge *used, *total, *busy, *temperature, *power, *sm_clock, *memory_clock, *corrected, *uncorrected,
      *xid;
  prometheus::Counter* xids;
  std::vector<prometheus::Gauge*> reasons;

  Gpu(Metrics& m, Handle of, unsigned index) : handle(of) {
    const Metrics::Labels gpu{{"gpu", std::to_string(index)}};
    const auto with = [&](const char* name, const char* value) {
      Metrics::Labels labels = gpu;
      labels[name] = value;
      return labels;
    };
    used = &m.gauge("quern_gpu_memory_used_bytes", "The driver's figure, all processes", gpu);
    total = &m.gauge("quern_gpu_memory_bytes", "Memory of the GPU", gpu);
    busy = &m.gauge("quern_gpu_utilization_ratio", "Share of the time in which a kernel ran", gpu);
    temperature = &m.gauge("quern_gpu_temperature_celsius", "Temperature of the GPU", gpu);
    power = &m.gauge("quern_gpu_power_watts", "Power drawn", gpu);
    sm_clock = &m.gauge("quern_gpu_clock_hertz", "Clocks", with("clock", "sm"));
    memory_clock = &m.gauge("quern_gpu_clock_hertz", "Clocks", with("clock", "memory"));
    corrected = &m.gauge("quern_gpu_ecc_errors", "ECC errors since the driver started", with("kind", "corrected"));
    uncorrected = &m.gauge("quern_gpu_ecc_errors", "ECC errors since the driver started", with("kind", "uncorrected"));
    xids = &m.counter("quern_gpu_xid_events_total", "Xid events: errors that the driver reports", gpu);
    xid = &m.gauge("quern_gpu_last_xid", "Number of the last Xid event; 0: none", gpu);
    for (const auto& [bit, name] : kReasons)
      reasons.push_back(&m.gauge("quern_gpu_throttled", "1 while clocks are held down for it", with("reason", name)));
  }
};

Result<std::unique_ptr<GpuMonitor>> GpuMonitor::start(Metrics& metrics, const std::string& library) {
  auto nvml = std::make_unique<Nvml>();
  if (!nvml->open(library)) {
    const char* reason = dlerror();
    return Error{ErrorCode::kUnavailable, library + ": " + (reason == nullptr ? "not NVML" : reason), "", 0};
  }
  if (const int status = nvml->init(); status != 0)
    return Error{ErrorCode::kUnavailable, library + ": nvmlInit gave " + std::to_string(status), "", 0};
  std::unique_ptr<GpuMonitor> monitor(new GpuMonitor(std::move(nvml)));
  Nvml& n = *monitor->nvml_;
  unsigned count = 0;
  if (n.count(&count) != 0) count = 0;
  if (n.make_set == nullptr || n.watch == nullptr || n.wait == nullptr || n.make_set(&n.events) != 0)
    n.events = nullptr;
  for (unsigned i = 0; i < std::min(count, kGpusMax); ++i) {
    Handle handle = nullptr;
    if (n.handle(i, &handle) != 0) continue;
    monitor->gpus_.emplace_back(metrics, handle, i);
    if (n.events != nullptr) (void)n.watch(handle, kXidEvent, n.events);
  }
  for (Gpu& gpu : monitor->gpus_) monitor->sample(gpu);
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
    for (Gpu& gpu : gpus_) sample(gpu);
    take_events();
    lock.lock();
  }
}

void GpuMonitor::sample(Gpu& gpu) {
  const Nvml& n = *nvml_;
  MemoryInfo memory{};
  if (n.memory != nullptr && n.memory(gpu.handle, &memory) == 0) {
    gpu.used->Set(static_cast<double>(memory.used));
    gpu.total->Set(static_cast<double>(memory.total));
  }
  Utilization busy{};
  if (n.utilization != nullptr && n.utilization(gpu.handle, &busy) == 0) gpu.busy->Set(0.01 * busy.gpu);
  unsigned value = 0;
  if (n.temperature != nullptr && n.temperature(gpu.handle, kCoreTemperature, &value) == 0) gpu.temperature->Set(value);
  if (n.power != nullptr && n.power(gpu.handle, &value) == 0) gpu.power->Set(1e-3 * value);
  if (n.clock != nullptr && n.clock(gpu.handle, kSmClock, &value) == 0) gpu.sm_clock->Set(1e6 * value);
  if (n.clock != nullptr && n.clock(gpu.handle, kMemoryClock, &value) == 0) gpu.memory_clock->Set(1e6 * value);
  Wide wide = 0;
  if (n.reasons != nullptr && n.reasons(gpu.handle, &wide) == 0) {
    for (size_t i = 0; i < gpu.reasons.size(); ++i) gpu.reasons[i]->Set((wide & kReasons[i].first) != 0 ? 1 : 0);
  }
  if (n.ecc != nullptr && n.ecc(gpu.handle, 0, kSinceStart, &wide) == 0) gpu.corrected->Set(static_cast<double>(wide));
  if (n.ecc != nullptr && n.ecc(gpu.handle, 1, kSinceStart, &wide) == 0)
    gpu.uncorrected->Set(static_cast<double>(wide));
}

/// Those that have happened; it waits for none.
void GpuMonitor::take_events() {
  constexpr int kAtOnceMax = 64;
  EventData event{};
  for (int i = 0; nvml_->events != nullptr && i < kAtOnceMax && nvml_->wait(nvml_->events, &event, 0) == 0; ++i) {
    for (Gpu& gpu : gpus_) {
      if (gpu.handle != event.device) continue;
      gpu.xids->Increment();
      gpu.xid->Set(static_cast<double>(event.data));
    }
  }
}

}  // namespace quern
