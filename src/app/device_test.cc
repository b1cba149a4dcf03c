// Which device --device takes where there is no GPU to use, and what is said about it.
#include "app/device.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "observe/log.h"

namespace quern {
namespace {

class DeviceTest : public testing::Test {
 protected:
  DeviceTest() { ::setenv("QUERN_CUDA_LIBRARY", "/no/such/libquern_cuda.so", 1); }
  ~DeviceTest() override { ::unsetenv("QUERN_CUDA_LIBRARY"); }

  static Result<OpenDevice> open(const std::string& name, bool has_gpu) {
    ModelOptions options;
    options.device = name;
    options.threads = 1;
    MachineLimits machine;
    machine.has_gpu = has_gpu;
    return open_device(options, machine);
  }
  static std::string log_of(const Device& device) {
    testing::internal::CaptureStderr();
    log_start({});
    log_device(device);
    log_stop();
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(DeviceTest, AutoSaysWhyItTookTheCpuLoudlyWhereACardIsPassedBy) {
  for (const bool has_gpu : {false, true}) {
    const auto opened = open("auto", has_gpu);
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(opened->device.name, "cpu");
    const std::string log = log_of(opened->device);
    EXPECT_NE(log.find(has_gpu ? "\"log.level\":\"warn\"" : "\"log.level\":\"info\""), std::string::npos) << log;
    EXPECT_NE(log.find("/no/such/libquern_cuda.so"), std::string::npos) << log;
  }
}

TEST_F(DeviceTest, TheCpuThatWasAskedForNeedsNoReason) {
  const auto opened = open("cpu", true);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->device.notice, "");
  EXPECT_NE(log_of(opened->device).find("\"log.level\":\"info\""), std::string::npos);
}

TEST_F(DeviceTest, AGpuThatWasAskedForIsNeverReplaced) {
  for (const char* name : {"cuda", "cuda:0", "cuda:7"}) {
    const auto opened = open(name, true);
    ASSERT_FALSE(opened.ok()) << name;
    EXPECT_EQ(opened.error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(opened.error().param, "--device");
    EXPECT_NE(opened.error().message.find("/no/such/libquern_cuda.so"), std::string::npos);
  }
  for (const char* name : {"gpu", "cuda:", "cuda:-1", "cuda0", "cuda:99999999999"})
    EXPECT_EQ(open(name, true).error().code, ErrorCode::kInvalidArgument) << name;
}

}  // namespace
}  // namespace quern
