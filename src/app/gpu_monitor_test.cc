#include "app/gpu_monitor.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

TEST(GpuMonitor, TheDriversFiguresAreShown) {
  Metrics metrics;
  const auto monitor = GpuMonitor::start(metrics, QUERN_FAKE_NVML);
  ASSERT_TRUE(monitor.ok()) << monitor.error().message;
  while (metrics.text().find("quern_gpu_last_xid{gpu=\"0\"} 79") == std::string::npos) std::this_thread::yield();
  const std::string text = metrics.text();
  for (const char* line :
       {"quern_gpu_memory_used_bytes{gpu=\"0\"} 16000", "quern_gpu_memory_bytes{gpu=\"0\"} 80000",
        "quern_gpu_utilization_ratio{gpu=\"0\"} 0.75", "quern_gpu_temperature_celsius{gpu=\"0\"} 61",
        "quern_gpu_power_watts{gpu=\"0\"} 690", "quern_gpu_clock_hertz{clock=\"sm\",gpu=\"0\"} 1400000000",
        "quern_gpu_throttled{gpu=\"0\",reason=\"power_cap\"} 1",
        "quern_gpu_throttled{gpu=\"0\",reason=\"hardware_thermal\"} 0",
        "quern_gpu_ecc_errors{gpu=\"0\",kind=\"corrected\"} 3", "quern_gpu_xid_events_total{gpu=\"0\"} 1"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
}

TEST(GpuMonitor, WithoutTheLibraryThereAreNoMetrics) {
  Metrics metrics;
  const auto monitor = GpuMonitor::start(metrics, "libno-such-nvml.so.1");
  ASSERT_FALSE(monitor.ok());
  EXPECT_NE(monitor.error().message.find("libno-such-nvml.so.1"), std::string::npos);
  EXPECT_EQ(metrics.text().find("quern_gpu"), std::string::npos);
}

}  // namespace
}  // namespace quern
