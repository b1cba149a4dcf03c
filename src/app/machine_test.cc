// Limits of control groups, read from a made-up /proc and /sys.
#include "app/machine.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace quern {
namespace {

class MachineTest : public ::testing::Test {
 protected:
  MachineTest() : root_(::testing::TempDir() + "quern-machine-" + std::to_string(::getpid()) + "/") {
    std::filesystem::remove_all(root_);
    write("proc/meminfo", "MemTotal:       100000 kB\nMemAvailable:    80000 kB\n");
  }
  ~MachineTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  std::string root_;
};

TEST_F(MachineTest, WithoutGroupsItIsTheMachine) {
  const auto limits = read_machine_limits(root_);
  EXPECT_GE(limits.cpus, 1);
  EXPECT_EQ(limits.memory_available_bytes, 80000LL * 1024);
  EXPECT_EQ(limits.memory_source, "MemAvailable");
}

TEST_F(MachineTest, AGpuIsThereWhereTheDriverShowsOne) {
  EXPECT_FALSE(read_machine_limits(root_).has_gpu);
  write("dev/nvidiactl", "");
  EXPECT_FALSE(read_machine_limits(root_).has_gpu);
  write("dev/nvidia5", "");
  EXPECT_TRUE(read_machine_limits(root_).has_gpu);
}

TEST_F(MachineTest, TheTightestGroupOfVersion2Holds) {
  write("proc/self/cgroup", "0::/pod/quern\n");
  write("sys/fs/cgroup/pod/quern/memory.max", "max\n");
  write("sys/fs/cgroup/pod/memory.max", "50000000\n");
  write("sys/fs/cgroup/pod/memory.current", "30000000\n");
  write("sys/fs/cgroup/pod/memory.stat", "anon 1\ninactive_file 10000000\n");
  write("sys/fs/cgroup/pod/quern/cpu.max", "150000 100000\n");
  write("sys/fs/cgroup/pod/cpu.max", "max 100000\n");
  const auto limits = read_machine_limits(root_);
  EXPECT_EQ(limits.memory_available_bytes, 30000000);
  EXPECT_NE(limits.memory_source.find("/pod"), std::string::npos);
  EXPECT_EQ(limits.cpus, 1);  // 1.5 cores
}

TEST_F(MachineTest, Version1AndAFractionOfACore) {
  write("proc/self/cgroup", "5:cpu,cpuacct:/d\n4:memory:/d\n0::/\n");
  write("sys/fs/cgroup/memory/d/memory.limit_in_bytes", "20000000\n");
  write("sys/fs/cgroup/memory/d/memory.usage_in_bytes", "25000000\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/cpu/d/cpu.cfs_quota_us", "20000\n");
  write("sys/fs/cgroup/cpu/d/cpu.cfs_period_us", "100000\n");
  const auto limits = read_machine_limits(root_);
  EXPECT_EQ(limits.memory_available_bytes, 0);
  EXPECT_EQ(limits.cpus, 1);
}

TEST_F(MachineTest, DamagedFilesAreNoLimits) {
  write("proc/self/cgroup", "nonsense\n0::/x\n:::\n");
  write("sys/fs/cgroup/x/memory.max", "-5\n");
  write("sys/fs/cgroup/x/cpu.max", "\n");
  EXPECT_EQ(read_machine_limits(root_).memory_available_bytes, 80000LL * 1024);
}

}  // namespace
}  // namespace quern
