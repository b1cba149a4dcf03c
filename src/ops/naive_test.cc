// The oracle over the case table: rows do not depend on their company, nothing is written that is not an output.
#include "ops/naive.h"

#include <gtest/gtest.h>

#include "ops/ops_cases.h"

namespace quern {
namespace {

TEST(NaiveOpsTest, RowsAreIndependentAndMarginsStay) {
  const auto ops = make_naive_ops();
  for (const DType E : {DType::kF32, DType::kBf16}) {
    for (const OpsCase& one : row_cases(E)) expect_no_company(one, *ops, one.compute(*ops, one.parts));
    for (const OpsCase& one : attention_cases(E)) {
      const auto whole = one.compute(*ops, one.parts);
      const auto few = one.compute(*ops, 3);
      EXPECT_EQ(std::memcmp(few.data(), whole.data(), few.size() * sizeof(float)), 0) << one.name;
    }
  }
}

TEST(NaiveOpsTest, RefusesF16AndOddHeads) {
  const auto ops = make_naive_ops();
  ModelShape shape;
  shape.head_dim = 64;
  EXPECT_TRUE(ops->prepare(shape, {}).ok());
  EXPECT_EQ(ops->prepare(shape, Precision::all(DType::kF16)).error().param, "--dtype");
  shape.head_dim = 63;
  EXPECT_NE(ops->prepare(shape, {}).error().message.find("head_dim"), std::string::npos);
}

}  // namespace
}  // namespace quern
