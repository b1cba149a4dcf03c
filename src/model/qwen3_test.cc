// The forward pass against transformers (tests/golden), and its promise that a vector depends on its sequence alone.
#include "model/qwen3.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>

#include "model/folder_files.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/naive.h"
#include "ops/ops_cases.h"

namespace quern {
namespace {

constexpr int32_t kBlockTokens = 16;
constexpr int32_t kBlocks = 64;

struct Golden {
  std::vector<int32_t> ids;
  int64_t layers = 0;
  std::vector<float> hidden;  // [layers, T, D]
  std::vector<float> vector, vector_bf16;
};

template <typename T>
void read_values(std::ifstream& in, T* out, size_t count) {
  in.read(reinterpret_cast<char*>(out), static_cast<std::streamsize>(count * sizeof(T)));
}

std::vector<Golden> read_golden(const std::string& preset) {
  std::ifstream in(std::string(QUERN_SOURCE_DIR "/tests/golden/") + preset + ".bin", std::ios::binary);
  uint32_t count = 0;
  read_values(in, &count, 1);
  std::vector<Golden> all(count);
  for (Golden& golden : all) {
    uint32_t T = 0, shape[2] = {};
    read_values(in, &T, 1);
    golden.ids.resize(T);
    read_values(in, golden.ids.data(), T);
    read_values(in, shape, 2);
    golden.layers = shape[0];
    golden.hidden.resize(size_t{shape[0]} * T * shape[1]);
    golden.vector.resize(shape[1]);
    golden.vector_bf16.resize(shape[1]);
    read_values(in, golden.hidden.data(), golden.hidden.size());
    read_values(in, golden.vector.data(), shape[1]);
    read_values(in, golden.vector_bf16.data(), shape[1]);
  }
  EXPECT_TRUE(in.good()) << preset;
  return all;
}

struct Model {
  Model(const std::string& preset, DType dtype, std::unique_ptr<Ops> made) : ops(std::move(made)) {
    const std::string folder = std::string(QUERN_SOURCE_DIR "/tests/golden/models/") + preset;
    auto config = read_model_config(folder);
    auto file = Safetensors::open(folder, *weight_files(folder));
    const Qwen3::Limits limits{256, 64, config->max_position_embeddings, kBlocks, kBlockTokens};
    auto prepared = ops->prepare(Qwen3::shape(*config, limits), Precision::all(dtype));
    if (!prepared) ADD_FAILURE() << prepared.error().message;
    auto weights = load_qwen3_weights(*file, *config, *ops, dtype);
    if (!weights) ADD_FAILURE() << weights.error().message;
    model = std::make_unique<Qwen3>(*ops, *config, std::move(*weights), Precision::all(dtype), limits);
  }

  /// One piece of a sequence: ids [begin, end) of it; its pages start at block first_block, every second block.
  struct Piece {
    const std::vector<int32_t>* ids;
    int64_t begin, end;
    int32_t first_block;
  };
  std::vector<std::vector<float>> run(const std::vector<Piece>& pieces, const Qwen3::LayerProbe& probe = nullptr) {
    Step step;
    for (const Piece& piece : pieces) {
      std::vector<int32_t> table;
      for (int32_t b = 0; b < 8; ++b) table.push_back(piece.first_block + 2 * (7 - b));
      const std::span<const int32_t> ids = *piece.ids;
      step.add(ids.subspan(piece.begin, piece.end - piece.begin), piece.begin, table,
               piece.end == static_cast<int64_t>(ids.size()));
    }
    return read(model->forward(step, probe));
  }
  std::vector<std::vector<float>> read(const Matrix& m) {
    std::vector<float> values(m.rows * m.cols);
    ops->read(*ops->start_read(m), values);
    std::vector<std::vector<float>> rows;
    for (auto row = values.begin(); row != values.end(); row += m.cols) rows.emplace_back(row, row + m.cols);
    return rows;
  }
  std::vector<float> alone(const std::vector<int32_t>& ids) {
    return run({{&ids, 0, static_cast<int64_t>(ids.size()), 0}})[0];
  }

  std::unique_ptr<Ops> ops;
  std::unique_ptr<Qwen3> model;
};

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

std::unique_ptr<Ops> make_ops(const std::string& kind) {
  if (kind == "naive") return make_naive_ops();
  if (kind != "best") setenv("QUERN_CPU_ISA", kind.c_str(), 1);
  auto ops = make_cpu_ops(2);
  unsetenv("QUERN_CPU_ISA");
  if (!ops) return nullptr;  // the CPU has not the instruction set
  EXPECT_TRUE(kind == "best" || (*ops)->name() == kind) << "found " << (*ops)->name();
  return std::move(*ops);
}

class GoldenTest : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(GoldenTest, EqualsTransformersInF32LayerByLayer) {
  const auto& [preset, kind] = GetParam();
  auto ops = make_ops(kind);
  if (!ops) GTEST_SKIP() << "SKIPPED: no " << kind << " on this CPU";
  Model model(preset, DType::kF32, std::move(ops));
  double worst_layer = 0, worst_turn = 0;
  for (const Golden& golden : read_golden(preset)) {
    const int64_t T = static_cast<int64_t>(golden.ids.size());
    double worst = 0;
    int64_t seen = 0;
    const auto probe = [&](int64_t layer, Matrix hidden) {
      if (layer + 1 >= golden.layers) return;
      ++seen;
      const float* want = golden.hidden.data() + (layer + 1) * T * hidden.cols;
      for (const auto& row : model.read(hidden))
        for (const float value : row) worst = std::max<double>(worst, std::abs(value - *want++));
    };
    const auto vector = model.run({{&golden.ids, 0, T, 0}}, probe)[0];
    EXPECT_EQ(seen, golden.layers);
    EXPECT_LT(worst, 1e-5) << T << " tokens";  // values of size 1..5, one ulp 5e-7; f32 sums in another order
    EXPECT_GT(cosine(vector, golden.vector), 1 - 1e-6) << T << " tokens";
    worst_layer = std::max(worst_layer, worst);
    worst_turn = std::max(worst_turn, 1 - cosine(vector, golden.vector));
  }
  std::printf("measured: layers differ by at most %.1e, vectors by 1 - cosine = %.1e\n", worst_layer, worst_turn);
}

TEST_P(GoldenTest, IsNearTransformersInBf16) {
  const auto& [preset, kind] = GetParam();
  auto ops = make_ops(kind);
  if (!ops) GTEST_SKIP() << "SKIPPED: no " << kind << " on this CPU";
  if (!computes_in(*ops, DType::kBf16)) GTEST_SKIP() << "SKIPPED: no bf16 products on this CPU";
  Model model(preset, DType::kBf16, std::move(ops));
  double worst_ours = 0, worst_theirs = 0;
  for (const Golden& golden : read_golden(preset)) {
    // A rounding to bf16 errs by at most 2^-9, 1.1e-3 in the mean square. About ten of them a layer, here 20 in all,
    // turn the vector by sqrt(20) x 1.1e-3 = 5e-3 when they add up at random: 1 - cosine = 1.2e-5. Twice that angle is
    // the bound. transformers' own bf16, whose residual stream is rounded too, is at 4e-5.
    const double ours = 1 - cosine(model.alone(golden.ids), golden.vector);
    const double theirs = 1 - cosine(golden.vector_bf16, golden.vector);
    EXPECT_LT(ours, 5e-5) << golden.ids.size() << " tokens";
    worst_ours = std::max(worst_ours, ours);
    worst_theirs = std::max(worst_theirs, theirs);
  }
  std::printf("measured: 1 - cosine = %.1e, transformers in bf16 %.1e\n", worst_ours, worst_theirs);
}

INSTANTIATE_TEST_SUITE_P(Presets, GoldenTest,
                         testing::Combine(testing::Values("odd", "group8", "wide-q", "group1-untied", "f16-shards",
                                                          "f32"),
                                          testing::Values("naive", "best", "avx2", "baseline")),
                         [](const auto& param) {
                           std::string name = std::get<0>(param.param) + "_" + std::get<1>(param.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class InvarianceTest : public testing::TestWithParam<DType> {};

TEST_P(InvarianceTest, AloneEqualsBatchedChunkedAndAnyThreads) {
  if (!computes_in(*make_ops("best"), GetParam())) GTEST_SKIP() << "SKIPPED: no bf16 products on this CPU";
  for (const std::string preset : {"odd", "group8", "wide-q"}) {
    const auto golden = read_golden(preset);
    const std::vector<int32_t>& a = golden[3].ids;  // 70 tokens
    const std::vector<int32_t>& b = golden[2].ids;  // 17
    const std::vector<int32_t>& c = golden[0].ids;  // 1
    Model one(preset, GetParam(), std::move(*make_cpu_ops(1)));
    const auto alone_a = one.alone(a), alone_b = one.alone(b), alone_c = one.alone(c);
    for (const int threads : {1, 2, 3}) {
      Model model(preset, GetParam(), std::move(*make_cpu_ops(threads)));
      const auto abc = model.run({{&a, 0, 70, 0}, {&b, 0, 17, 1}, {&c, 0, 1, 20}});
      const auto cba = model.run({{&c, 0, 1, 0}, {&b, 0, 17, 20}, {&a, 0, 70, 1}});
      EXPECT_EQ(abc[0], alone_a) << preset << threads;
      EXPECT_EQ(abc[1], alone_b);
      EXPECT_EQ(abc[2], alone_c);
      EXPECT_EQ(cba[0], alone_c);
      EXPECT_EQ(cba[1], alone_b);
      EXPECT_EQ(cba[2], alone_a);
      for (const int64_t cut : {1, 13, 64, 69}) {
        EXPECT_TRUE(model.run({{&a, 0, cut, 0}}).empty());
        const auto rest = model.run({{&b, 0, 17, 1}, {&a, cut, 70, 0}});
        EXPECT_EQ(rest[0], alone_b) << cut;
        EXPECT_EQ(rest[1], alone_a) << cut;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, InvarianceTest, testing::Values(DType::kF32, DType::kBf16));

}  // namespace
}  // namespace quern
