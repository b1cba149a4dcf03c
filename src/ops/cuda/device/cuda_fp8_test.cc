// fp8 products on the device against the oracle: the case table, and the shapes that the fast kernels take. Each op is
// a test of its own.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "ops/cuda/device/test_cuda.h"
#include "ops/ops_cases.h"

namespace quern {
namespace {

constexpr DType kFp8 = DType::kE4m3;

class CudaFp8Test : public CudaTest {
 protected:
  void prepare(int64_t tokens, int64_t intermediate, int64_t heads = 64, int64_t d = 128) {
    ModelShape shape;
    shape.hidden_size = 64;
    shape.heads = heads;
    shape.kv_heads = 1;
    shape.head_dim = d;
    shape.intermediate_size = intermediate;
    shape.vocab_size = 100;
    shape.tokens_max = shape.sequences_max = tokens;
    shape.positions_max = 512;
    shape.kv_blocks = 8;
    shape.block_tokens = 1;
    for (Ops* ops : {device_.get(), naive_.get()}) {
      const auto prepared = ops->prepare(shape, Precision::of(kFp8));
      ASSERT_TRUE(prepared.ok()) << prepared.error().message;
    }
  }
  void expect_cases(const std::vector<OpsCase>& cases) {
    for (const OpsCase& one : cases) {
      SCOPED_TRACE(one.name);
      prepare(2100, 512, 64, 32);  // the widest rows of the table
      for (const int64_t parts : {one.parts, std::min<int64_t>(one.parts, 3)})
        expect_near(one, one.compute(*device_, parts), one.compute(*naive_, parts));
    }
  }
};

TEST_F(CudaFp8Test, RowOpsEqualTheOracle) { expect_cases(row_cases(kFp8)); }
TEST_F(CudaFp8Test, ProductsEqualTheOracle) { expect_cases(product_cases(kFp8)); }
TEST_F(CudaFp8Test, AttentionEqualsTheOracle) { expect_cases(attention_cases(kFp8)); }

/// |a - b| / |b|; a NaN anywhere is infinite.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * double{a[i] - b[i]};
    size += double{b[i]} * b[i];
  }
  const double result = std::sqrt(difference / size);
  return a.size() == b.size() && std::isfinite(result) ? result : INFINITY;
}

enum Op { kLinear, kLinearAdd, kSwiglu };
struct Shape {
  int64_t T, C, F;
};

/// Rows whose blocks are of very different sizes, some of them zero, so that the exponents change.
std::vector<float> uneven(int64_t T, int64_t C, uint32_t seed) {
  std::vector<float> values = CaseMemory::normal(T * C, seed);
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t i = 0; i < C; ++i) {
      const int64_t block = i / kE4m3Block;
      float scale = std::ldexp(1.0f, static_cast<int>((t * 7 + block * 5) % 13) - 6);
      if (t % 3 == 0) scale = 1;  // as most rows are
      if ((t + block) % 11 == 5) scale = 0;
      values[t * C + i] *= scale;
    }
  }
  return values;
}

std::vector<float> product(Ops& ops, Op op, const Shape& s) {
  CaseMemory memory(ops);
  const auto weights = CaseMemory::normal(2 * s.F * s.C, 2);
  std::vector<float> scaled = weights;
  for (int64_t n = 0; n < 2 * s.F; ++n)
    for (int64_t i = 0; i < s.C; ++i) scaled[n * s.C + i] *= 0.01f * static_cast<float>(1 + n % 17);
  const auto bytes = CaseMemory::stored(scaled, DType::kBf16);
  const ConstMatrix parts[] = {{bytes.data(), DType::kBf16, s.F, s.C},
                               {bytes.data() + 2 * s.F * s.C, DType::kBf16, s.F, s.C}};
  const auto weight = ops.pack(parts, kFp8);
  const Matrix x = memory.given(s.T, s.C, kFp8, uneven(s.T, s.C, 1));
  const Matrix out = op == kSwiglu   ? memory.poisoned(s.T, s.F, kFp8)
                     : op == kLinear ? memory.given(s.T, 2 * s.F, DType::kBf16,
                                                    std::vector<float>(static_cast<size_t>(s.T * 2 * s.F), NAN), 0)
                                     : memory.given(s.T, 2 * s.F, DType::kF32, CaseMemory::normal(s.T * 2 * s.F, 3), 0);
  Step step;
  const std::vector<int32_t> id{0}, block{0};
  step.add(id, 0, block, true);
  ops.run(step, false, [&] {
    if (op == kSwiglu) return ops.linear_swiglu(x, *weight, out);
    if (op == kLinear) return ops.linear(x, weight->all(), out);
    ops.linear_add(x, weight->all(), out);
  });
  return memory.read(out);
}

class CudaFp8ProductTest : public CudaFp8Test, public testing::WithParamInterface<std::tuple<Op, Shape>> {};

TEST_P(CudaFp8ProductTest, EqualsTheOracle) {
  const auto& [op, s] = GetParam();
  prepare(s.T, s.F);
  const double apart = distance(product(*device_, op, s), product(*naive_, op, s));
  std::printf("measured: %lld x %lld, F %lld, op %d: %.1e apart\n", static_cast<long long>(s.T),
              static_cast<long long>(s.C), static_cast<long long>(s.F), static_cast<int>(op), apart);
  // The matrix units add with 14 bits; where a result is e4m3 again, a few of them go to the next step.
  EXPECT_LE(apart, op == kSwiglu ? 1.5e-2 : 4e-3);
}

constexpr Shape kShapes[] = {{1, 128, 128},   {5, 320, 1024},   {8, 512, 2048},    {9, 2560, 128},
                             {17, 256, 1152}, {32, 640, 128},   {33, 128, 128},    {65, 256, 384},
                             {300, 640, 640}, {257, 1280, 128}, {4100, 256, 1152}, {511, 2560, 256}};
INSTANTIATE_TEST_SUITE_P(All, CudaFp8ProductTest,
                         testing::Combine(testing::Values(kLinear, kLinearAdd, kSwiglu), testing::ValuesIn(kShapes)));

/// The kernel for heads of 128 writes e4m3 itself, a head a block.
TEST_F(CudaFp8Test, AttentionOfHeadsOf128EqualsTheOracle) {
  constexpr int32_t kHeads = 8, kKvHeads = 2, kWidth = 128, kBlockTokens = 16;
  const auto attend = [&](Ops& ops) {
    ModelShape shape;
    shape.hidden_size = 64;
    shape.heads = kHeads;
    shape.kv_heads = kKvHeads;
    shape.head_dim = kWidth;
    shape.intermediate_size = 128;
    shape.vocab_size = 10;
    shape.tokens_max = shape.positions_max = 512;
    shape.sequences_max = 4;
    shape.kv_blocks = 40;
    shape.block_tokens = kBlockTokens;
    EXPECT_TRUE(ops.prepare(shape, Precision::of(kFp8)).ok());
    CaseMemory memory(ops);
    KvPages pages{nullptr, DType::kBf16, 40, kBlockTokens, kKvHeads, kWidth};
    pages.data = memory.poisoned_bytes(ops.kv_block_bytes(pages) * 40).data;
    const Vector norm = make_vector(ops, CaseMemory::normal(kWidth, 4));
    const RopeTable rope = make_rope_table(ops, 1e6, kWidth, 512);
    const HeadNormRope how{&norm, &norm, 1e-6f, &rope};
    Step step;
    std::vector<int32_t> blocks;
    for (int32_t b = 0; b < 40; ++b) blocks.push_back(39 - b);
    const std::vector<int32_t> ids(300, 1);
    step.add(std::span(ids).first(300), 0, std::span(blocks).first(20), true);
    step.add(std::span(ids).first(1), 0, std::span(blocks).subspan(20, 1), true);
    step.add(std::span(ids).first(33), 0, std::span(blocks).subspan(21, 3), true);
    const int64_t T = step.all.count(), q_cols = kHeads * kWidth, kv_cols = 2 * kKvHeads * kWidth;
    const Matrix qkv = memory.random(T, q_cols + kv_cols, DType::kBf16, 5, 0);
    const Matrix mix = memory.poisoned(T, q_cols, kFp8);
    ops.run(step, false, [&] {
      const Matrix q = qkv.columns(0, q_cols);
      ops.norm_rope_store(q, qkv.columns(q_cols, kv_cols), step, step.all, how, pages);
      ops.attention(q, step, step.all, pages, mix);
    });
    return memory.read(mix);
  };
  const double apart = distance(attend(*device_), attend(*naive_));
  std::printf("measured: attention to e4m3: %.1e apart\n", apart);
  EXPECT_LE(apart, 1.5e-2);  // bf16 errs by 2e-3, which sends one value in twenty to the next step
}

}  // namespace
}  // namespace quern
