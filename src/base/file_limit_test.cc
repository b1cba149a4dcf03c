#include "base/file_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace quern {
namespace {

TEST(FileLimit, RaisesTheSoftLimitToTheHardOne) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{256, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const auto raised = raise_file_limit(10);
  rlimit after{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &after), 0);
  (void)::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(raised.ok());
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  EXPECT_EQ(raised->connections_max, 10);
  EXPECT_GE(raised->files_max, 256);
}

TEST(FileLimit, SaysHowManyConnectionsFit) {
  EXPECT_EQ(connections_that_fit(4096), 4096 - kOtherFilesMax);
  EXPECT_EQ(connections_that_fit(256), 128);
  EXPECT_EQ(connections_that_fit(1), 1);
  const auto limit = raise_file_limit(int64_t{1} << 40);
  ASSERT_TRUE(limit.ok());
  EXPECT_EQ(limit->connections_max, connections_that_fit(limit->files_max));
}

}  // namespace
}  // namespace quern
