// For tests of ops on a GPU: the device's Ops and the oracle; without a device they say that nothing was tested.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "ops/cuda/cuda_ops.h"
#include "ops/naive.h"

namespace quern {

class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_cuda_ops({});
    if (!opened) GTEST_SKIP() << "SKIPPED, NOTHING WAS TESTED: " << opened.error().message;
    device_ = std::move(*opened);
    naive_ = make_naive_ops();
  }

  std::unique_ptr<Ops> device_, naive_;
};

}  // namespace quern
