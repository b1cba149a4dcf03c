// A shared object with NVML's entries and one GPU of fixed figures, for src/app/gpu_monitor_test.cc.
namespace {
using Wide = unsigned long long;  // NOLINT: as NVML's header has it
int gpu;
int events = 1;
}  // namespace

extern "C" {
int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
int nvmlDeviceGetCount_v2(unsigned* count) { return *count = 1, 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned, void** handle) { return *handle = &gpu, 0; }
int nvmlDeviceGetMemoryInfo(void*, Wide* m) { return m[0] = 80000, m[1] = 64000, m[2] = 16000, 0; }
int nvmlDeviceGetUtilizationRates(void*, unsigned* u) { return u[0] = 75, u[1] = 20, 0; }
int nvmlDeviceGetTemperature(void*, unsigned, unsigned* t) { return *t = 61, 0; }
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) { return *milliwatts = 690000, 0; }
int nvmlDeviceGetClockInfo(void*, unsigned type, unsigned* mhz) { return *mhz = type == 1 ? 1400 : 2619, 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void*, Wide* bits) { return *bits = 0x4, 0; }
int nvmlDeviceGetTotalEccErrors(void*, unsigned kind, unsigned, Wide* n) { return *n = kind == 0 ? 3 : 0, 0; }
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
