// GpuMonitor: what the driver's NVML says of the GPU in use, as quern_gpu_* metrics: memory, utilisation, temperature,
// power, clocks, throttling, ECC errors, Xid events. A figure that the driver does not give has no metric.
//
// Owns the library, loaded at run time, and one thread that asks it every second: a scrape finds the figures there and
// never waits for a driver. It ends before the Metrics.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/result.h"
#include "observe/metrics.h"

namespace quern {

class GpuMonitor {
 public:
  /// `bus_id`: of the GPU in use. CUDA's numbers are of those that it is shown; the labels are the driver's own number
  /// and UUID. An Error says what is missing; then there are no such metrics. `library`: but in tests the driver's.
  static Result<std::unique_ptr<GpuMonitor>> start(Metrics& metrics, const std::string& bus_id,
                                                   const std::string& library = "libnvidia-ml.so.1");
  ~GpuMonitor();
  GpuMonitor(const GpuMonitor&) = delete;
  GpuMonitor& operator=(const GpuMonitor&) = delete;

 private:
  struct Nvml;
  struct Gpu;
  explicit GpuMonitor(std::unique_ptr<Nvml> nvml);
  void loop();
  void sample();
  void take_events();

  std::unique_ptr<Nvml> nvml_;
  std::unique_ptr<Gpu> gpu_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace quern
