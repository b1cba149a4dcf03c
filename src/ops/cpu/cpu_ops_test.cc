// The fast ops: rows do not depend on their company, and each equals the oracle within rounding.
#include "ops/cpu/cpu_ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include "ops/naive.h"

namespace quern {
namespace {

struct Values {
  Values(int64_t rows, int64_t cols, DType dtype, uint32_t seed) : bytes(rows * cols * dtype_bytes(dtype)) {
    matrix = {bytes.data(), dtype, rows, cols};
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float value = seed == 0 ? 0 : normal(generator);
      if (dtype == DType::kF32) {
        matrix.f32()[i] = value;
      } else {
        matrix.b16()[i] = f32_to_bf16(value);
      }
    }
  }
  ConstMatrix as_weight() const { return {matrix.data, matrix.dtype, matrix.rows, matrix.cols}; }
  float at(int64_t i) const { return matrix.dtype == DType::kF32 ? matrix.f32()[i] : bf16_to_f32(matrix.b16()[i]); }
  std::vector<char> bytes;
  Matrix matrix;
};

void expect_near(const Values& a, const Values& b, float tolerance) {
  float worst = 0;
  for (int64_t i = 0; i < a.matrix.rows * a.matrix.cols; ++i)
    worst = std::max(worst, std::abs(a.at(i) - b.at(i)) / (1 + std::abs(b.at(i))));
  EXPECT_LE(worst, tolerance);
}

class CpuOpsTest : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (!make_cpu_ops(1)->supports(GetParam())) GTEST_SKIP() << "SKIPPED: no bf16 products on this CPU";
  }
  float tolerance() const { return GetParam() == DType::kF32 ? 2e-4f : 2e-2f; }  // sums of up to 300 terms of size 1
};

TEST_P(CpuOpsTest, ProductsEqualTheOracleAndRowsAreIndependent) {
  const DType E = GetParam();
  auto fast = make_cpu_ops(2);
  auto naive = make_naive_ops();
  // input columns, output columns
  constexpr std::pair<int64_t, int64_t> kShapes[] = {{54, 80},  {64, 256},   {64, 160},  {160, 64},
                                                     {256, 64}, {112, 80},   {2, 1},     {300, 129},
                                                     {320, 16}, {1024, 128}, {1024, 144}};
  for (const auto& [C, N] : kShapes) {
    const Values w(N, C, E, 1), w2(N, C, E, 4);
    const ConstMatrix part = w.as_weight(), part2 = w2.as_weight();
    const auto packed = fast->pack({&part, 1}, E), packed2 = fast->pack({&part2, 1}, E);
    const auto oracle = naive->pack({&part, 1}, E), oracle2 = naive->pack({&part2, 1}, E);
    const int64_t T = 131;
    const Values x(T, C, E, 2);
    Values all(T, N, E, 0), all_add(T, N, DType::kF32, 3), all_glu(T, N, E, 0);
    Values want(T, N, E, 0), want_add(T, N, DType::kF32, 3), want_glu(T, N, E, 0);
    fast->linear(x.matrix, *packed, all.matrix);
    fast->linear_add(x.matrix, *packed, all_add.matrix);
    fast->linear_swiglu(x.matrix, *packed, *packed2, all_glu.matrix);
    naive->linear(x.matrix, *oracle, want.matrix);
    naive->linear_add(x.matrix, *oracle, want_add.matrix);
    naive->linear_swiglu(x.matrix, *oracle, *oracle2, want_glu.matrix);
    expect_near(all, want, tolerance());
    expect_near(all_add, want_add, tolerance());
    expect_near(all_glu, want_glu, 20 * tolerance());  // a product of two such sums
    for (int64_t rows = 1; rows < T; rows += rows < 20 ? 1 : 13) {
      Values few(rows, N, E, 0), few_add(rows, N, DType::kF32, 3), few_glu(rows, N, E, 0);
      const Matrix some{x.matrix.data, E, rows, C};
      fast->linear(some, *packed, few.matrix);
      fast->linear_add(some, *packed, few_add.matrix);
      fast->linear_swiglu(some, *packed, *packed2, few_glu.matrix);
      ASSERT_EQ(std::memcmp(few.bytes.data(), all.bytes.data(), few.bytes.size()), 0) << C << "x" << N << ", " << rows;
      ASSERT_EQ(std::memcmp(few_add.bytes.data(), all_add.bytes.data(), few_add.bytes.size()), 0) << C << "x" << N;
      ASSERT_EQ(std::memcmp(few_glu.bytes.data(), all_glu.bytes.data(), few_glu.bytes.size()), 0) << C << "x" << N;
    }
  }
}

TEST_P(CpuOpsTest, AttentionEqualsTheOracle) {
  const DType E = GetParam();
  struct Shape {
    int32_t heads, kv_heads, d, block_tokens;
  };
  for (const char* isa : {"best", "avx2", "baseline"}) {
    if (std::strcmp(isa, "best") != 0) setenv("QUERN_CPU_ISA", isa, 1);
    auto fast = make_cpu_ops(2);
    unsetenv("QUERN_CPU_ISA");
    auto naive = make_naive_ops();
    for (const Shape s : {Shape{1, 1, 2, 1}, Shape{4, 2, 32, 16}, Shape{3, 1, 18, 7}, Shape{16, 8, 128, 32}}) {
      const int32_t blocks = (200 + s.block_tokens) / s.block_tokens + 1;
      std::vector<int32_t> table(blocks);
      for (int32_t b = 0; b < blocks; ++b) table[b] = blocks - 1 - b;
      for (const auto& [begin, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 65}, {63, 2}, {70, 130}}) {
        const SequenceRows rows{0, count, begin, table.data()};
        Values store(blocks, int64_t{2} * s.kv_heads * s.d * s.block_tokens, E, 5);
        const KvPages pages{store.matrix.data, E, blocks, s.block_tokens, s.kv_heads, s.d};
        const Values q(count, int64_t{s.heads} * s.d, E, 6);
        Values got(count, q.matrix.cols, E, 0), want(count, q.matrix.cols, E, 0);
        fast->attention(q.matrix, {&rows, 1}, pages, got.matrix);
        naive->attention(q.matrix, {&rows, 1}, pages, want.matrix);
        expect_near(got, want, tolerance());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, CpuOpsTest, testing::Values(DType::kF32, DType::kBf16));

}  // namespace
}  // namespace quern
