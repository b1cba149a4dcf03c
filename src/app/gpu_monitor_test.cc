#include "app/gpu_monitor.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

TEST(GpuMonitor, TheDriversFiguresAreShown) {
  Metrics metrics;
  const auto monitor = GpuMonitor::start(metrics, "0000:3B:00.0", QUERN_FAKE_NVML);
  ASSERT_TRUE(monitor.ok()) << monitor.error().message;
  while (metrics.text().find("quern_gpu_last_xid{gpu=\"3\",uuid=\"GPU-7f\"} 79") == std::string::npos)
    std::this_thread::yield();
  const std::string text = metrics.text();
  for (const char* line : {"quern_gpu_memory_used_bytes{gpu=\"3\",uuid=\"GPU-7f\"} 16000",
                           "quern_gpu_memory_bytes{gpu=\"3\",uuid=\"GPU-7f\"} 80000",
                           "quern_gpu_utilization_ratio{gpu=\"3\",uuid=\"GPU-7f\"} 0.75",
                           "quern_gpu_temperature_celsius{gpu=\"3\",uuid=\"GPU-7f\"} 61",
                           "quern_gpu_power_watts{gpu=\"3\",uuid=\"GPU-7f\"} 690",
                           "quern_gpu_clock_hertz{clock=\"sm\",gpu=\"3\",uuid=\"GPU-7f\"} 1400000000",
                           "quern_gpu_throttled{gpu=\"3\",reason=\"power_cap\",uuid=\"GPU-7f\"} 1",
                           "quern_gpu_throttled{gpu=\"3\",reason=\"hardware_thermal\",uuid=\"GPU-7f\"} 0",
                           "quern_gpu_ecc_errors{gpu=\"3\",kind=\"corrected\",uuid=\"GPU-7f\"} 3",
                           "quern_gpu_xid_events_total{gpu=\"3\",uuid=\"GPU-7f\"} 1"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  EXPECT_EQ(text.find("uncorrected"), std::string::npos) << "the driver gives no such figure, not even 0";
}

TEST(GpuMonitor, AGpuThatTheDriverDoesNotKnowHasNoMetrics) {
  Metrics metrics;
  const auto monitor = GpuMonitor::start(metrics, "0000:04:00.0", QUERN_FAKE_NVML);
  ASSERT_FALSE(monitor.ok());
  EXPECT_NE(monitor.error().message.find("0000:04:00.0"), std::string::npos);
  EXPECT_EQ(metrics.text().find("quern_gpu"), std::string::npos);
}

TEST(GpuMonitor, WithoutTheLibraryThereAreNoMetrics) {
  Metrics metrics;
  const auto monitor = GpuMonitor::start(metrics, "0000:3B:00.0", "libno-such-nvml.so.1");
  ASSERT_FALSE(monitor.ok());
  EXPECT_NE(monitor.error().message.find("libno-such-nvml.so.1"), std::string::npos);
  EXPECT_EQ(metrics.text().find("quern_gpu"), std::string::npos);
}

}  // namespace
}  // namespace quern
