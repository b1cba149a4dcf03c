// The oracle over the case table: rows do not depend on their company, nothing is written that is not an output.
#include "ops/naive.h"

#include <gtest/gtest.h>

#include "ops/ops_cases.h"

namespace quern {
namespace {

TEST(NaiveOpsTest, RowsAreIndependentAndMarginsStay) {
  const auto ops = make_naive_ops();
  for (const DType E : {DType::kF32, DType::kBf16, DType::kF16, DType::kE4m3}) {
    for (const OpsCase& one : row_cases(E)) expect_no_company(one, *ops, one.compute(*ops, one.parts));
    for (const OpsCase& one : attention_cases(E)) {
      const auto whole = one.compute(*ops, one.parts);
      const auto few = one.compute(*ops, 3);
      EXPECT_EQ(std::memcmp(few.data(), whole.data(), few.size() * sizeof(float)), 0) << one.name;
    }
  }
}

/// fp8 is near what it rounds: the products of the table, whose inputs and weights are of size 1, beside bf16's.
TEST(NaiveOpsTest, Fp8ProductsAreNearTheSameOfBf16) {
  const auto ops = make_naive_ops();
  const auto of_fp8 = product_cases(DType::kE4m3), of_bf16 = product_cases(DType::kBf16);
  for (size_t i = 0; i < of_fp8.size(); ++i) {
    const auto got = of_fp8[i].compute(*ops, 8), want = of_bf16[i].compute(*ops, 8);
    ASSERT_EQ(got.size(), want.size());
    double difference = 0, size = 0;
    for (size_t n = 0; n < want.size(); ++n) {
      ASSERT_EQ(std::isfinite(got[n]), std::isfinite(want[n])) << of_fp8[i].name;
      if (!std::isfinite(want[n])) continue;
      difference += (got[n] - want[n]) * double{got[n] - want[n]};
      size += double{want[n]} * want[n];
    }
    EXPECT_GT(difference, 0) << of_fp8[i].name;
    EXPECT_LT(std::sqrt(difference / size), 0.08) << of_fp8[i].name;  // four roundings of 2.6e-2 at most
  }
}

TEST(NaiveOpsTest, RefusesFp8KeysAndOddHeads) {
  const auto ops = make_naive_ops();
  ModelShape shape;
  shape.head_dim = 64;
  EXPECT_TRUE(ops->prepare(shape, {}).ok());
  EXPECT_EQ(ops->prepare(shape, Precision::all(DType::kE4m3)).error().param, "--dtype");
  shape.head_dim = 63;
  EXPECT_NE(ops->prepare(shape, {}).error().message.find("head_dim"), std::string::npos);
}

}  // namespace
}  // namespace quern
