// The fast ops over the case table, on every instruction set: each equals the oracle within rounding, and rows do not
// depend on their company, bit for bit.
#include "ops/cpu/cpu_ops.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "ops/naive.h"
#include "ops/ops_cases.h"

namespace quern {
namespace {

bool cpu_has(const std::string& isa) {
  if (isa == "baseline") return true;
  if (isa == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

Result<std::unique_ptr<Ops>> make_with_isa(const char* isa, int threads) {
  setenv("QUERN_CPU_ISA", isa, 1);
  auto ops = make_cpu_ops(threads);
  unsetenv("QUERN_CPU_ISA");
  return ops;
}

class CpuOpsTest : public testing::TestWithParam<std::tuple<std::string, DType>> {
 protected:
  void SetUp() override {
    const auto& [isa, dtype] = GetParam();
    if (!cpu_has(isa)) GTEST_SKIP() << "SKIPPED: no " << isa << " on this CPU";
    auto made = make_with_isa(isa.c_str(), 2);
    ASSERT_TRUE(made.ok()) << made.error().message;
    ops_ = std::move(*made);
    ASSERT_EQ(ops_->name(), isa);
    if (!computes_in(*ops_, dtype)) GTEST_SKIP() << "SKIPPED: no bf16 products on this CPU";
  }
  void run(const std::vector<OpsCase>& cases) {
    const auto naive = make_naive_ops();
    for (const OpsCase& one : cases) {
      const auto got = one.compute(*ops_, one.parts);
      expect_near(one, got, one.compute(*naive, one.parts));
      expect_no_company(one, *ops_, got);
      if (HasFailure()) return;
    }
  }
  std::unique_ptr<Ops> ops_;
};

TEST_P(CpuOpsTest, RowOps) { run(row_cases(std::get<1>(GetParam()))); }
TEST_P(CpuOpsTest, Products) { run(product_cases(std::get<1>(GetParam()))); }
TEST_P(CpuOpsTest, Attention) { run(attention_cases(std::get<1>(GetParam()))); }

INSTANTIATE_TEST_SUITE_P(Isas, CpuOpsTest,
                         testing::Combine(testing::Values("avx512", "avx2", "baseline"),
                                          testing::Values(DType::kF32, DType::kBf16)),
                         [](const auto& param) {
                           return std::get<0>(param.param) + "_" + std::string(dtype_name(std::get<1>(param.param)));
                         });

TEST(CpuOpsIsaTest, AnUnknownOneIsRefusedWithTheNamesOfThisCpu) {
  for (const char* wrong : {"typo", "AVX2", "avx512 ", "best"}) {
    const auto made = make_with_isa(wrong, 1);
    ASSERT_FALSE(made.ok()) << wrong;
    EXPECT_NE(made.error().message.find("QUERN_CPU_ISA: expected one of baseline"), std::string::npos);
    EXPECT_NE(made.error().message.find(wrong), std::string::npos);
  }
  for (const char* isa : {"avx2", "avx512"}) EXPECT_EQ(make_with_isa(isa, 1).ok(), cpu_has(isa)) << isa;
  EXPECT_TRUE(make_with_isa("", 1).ok());
}

TEST(CpuOpsLimitsTest, RefusesByNameWhatTheKernelsDoNotHold) {
  auto ops = make_cpu_ops(1);
  ModelShape shape;
  shape.heads = 64;
  shape.kv_heads = 1;
  shape.head_dim = 1024;
  EXPECT_TRUE((*ops)->prepare(shape, {}).ok());
  shape.heads = 65;
  EXPECT_EQ((*ops)->prepare(shape, {}).error().message,
            "query heads for one K/V head: expected at most 64 on the CPU, found 65");
  shape.heads = 1;
  shape.head_dim = 4096;
  EXPECT_EQ((*ops)->prepare(shape, {}).error().message, "head_dim: expected at most 1024 on the CPU, found 4096");
  shape.head_dim = 64;
  EXPECT_EQ((*ops)->prepare(shape, Precision::all(DType::kF16)).error().message,
            "f16 is computed on a GPU alone; on a CPU: auto, f32, bf16");
  EXPECT_EQ((*ops)->prepare(shape, Precision::of(DType::kE4m3)).error().message,
            "fp8 is computed on a GPU alone; on a CPU: auto, f32, bf16");
  EXPECT_EQ((*ops)->prepare(shape, {DType::kF32, DType::kF32, DType::kBf16}).error().param, "--dtype");
}

// What is not asked for loses nothing: only bf16 checkpoints are computed in bf16.
TEST(CpuOps, RoundsNoWeightsUnasked) {
  const auto ops = make_cpu_ops(1).value();
  EXPECT_EQ(ops->preferred(DType::kF16).weights, DType::kF32);
  EXPECT_EQ(ops->preferred(DType::kF32).weights, DType::kF32);
  const DType of_bf16 = ops->preferred(DType::kBf16).weights;  // where the processor has it
  EXPECT_TRUE(of_bf16 == DType::kBf16 || of_bf16 == DType::kF32);
}

}  // namespace
}  // namespace quern
