// A shared object with NVML's entries and one GPU of fixed figures, for src/app/gpu_monitor_test.cc.
#include <cstring>

namespace {
using Wide = unsigned long long;  // NOLINT: as NVML's header has it
int gpu;
int events = 1;
}  // namespace

extern "C" {
int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** handle) {
  if (std::strcmp(id, "0000:3B:00.0") != 0) return 6;  // NVML_ERROR_NOT_FOUND
  return *handle = &gpu, 0;
}
int nvmlDeviceGetIndex(void*, unsigned* index) { return *index = 3, 0; }
int nvmlDeviceGetUUID(void*, char* text, unsigned) { return std::strcpy(text, "GPU-7f"), 0; }
int nvmlDeviceGetMemoryInfo(void*, Wide* m) { return m[0] = 80000, m[1] = 64000, m[2] = 16000, 0; }
int nvmlDeviceGetUtilizationRates(void*, unsigned* u) { return u[0] = 75, u[1] = 20, 0; }
int nvmlDeviceGetTemperature(void*, unsigned, unsigned* t) { return *t = 61, 0; }
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) { return *milliwatts = 690000, 0; }
int nvmlDeviceGetClockInfo(void*, unsigned type, unsigned* mhz) { return *mhz = type == 1 ? 1400 : 2619, 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void*, Wide* bits) { return *bits = 0x4, 0; }
int nvmlDeviceGetTotalEccErrors(void*, unsigned kind, unsigned, Wide* n) {
  if (kind != 0) return 3;  // NVML_ERROR_NOT_SUPPORTED
  return *n = 3, 0;
}
int nvmlEventSetCreate(void** set) { return *set = &events, 0; }
int nvmlDeviceRegisterEvents(void*, Wide, void*) { return 0; }
int nvmlEventSetWait_v2(void*, void* data, unsigned) {
  if (events-- <= 0) return 10;  // NVML_ERROR_TIMEOUT
  *static_cast<void**>(data) = &gpu;
  static_cast<Wide*>(data)[1] = 8;
  static_cast<Wide*>(data)[2] = 79;
  return 0;
}
}
