// Whole models on the device: against transformers (tests/golden), and quern-mini against the oracle in f32; alone, in
// company and in chunks.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numeric>
#include <random>

#include "ops/cuda/cuda_ops.h"
#include "ops/naive.h"
#include "worker/runner.h"

namespace quern {
namespace {

constexpr int32_t kBlockTokens = 16;

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

struct Golden {
  std::vector<int32_t> ids;
  std::vector<float> vector;
};

/// As tests/golden/generate.py writes them; the hidden rows and transformers' bf16 are passed over.
std::vector<Golden> read_golden(const std::string& preset) {
  std::ifstream in(std::string(QUERN_SOURCE_DIR "/tests/golden/") + preset + ".bin", std::ios::binary);
  const auto get = [&](auto* to, size_t count) {
    in.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count * sizeof(*to)));
  };
  uint32_t count = 0;
  get(&count, 1);
  std::vector<Golden> all(in ? count : 0);
  for (Golden& golden : all) {
    uint32_t T = 0, shape[2] = {};
    get(&T, 1);
    golden.ids.resize(T);
    get(golden.ids.data(), T);
    get(shape, 2);
    std::vector<float> unused(size_t{shape[0]} * T * shape[1]);
    get(unused.data(), unused.size());
    golden.vector.resize(shape[1]);
    get(golden.vector.data(), shape[1]);
    get(unused.data(), shape[1]);
  }
  EXPECT_TRUE(in.good() && !all.empty()) << preset;
  return all;
}

struct Piece {
  const std::vector<int32_t>* ids;
  int32_t begin, end;
  int32_t first_block;
};

Batch batch_of(const std::vector<Piece>& pieces) {
  Batch batch;
  for (const Piece& piece : pieces) {
    Span span;
    span.token_begin = static_cast<int32_t>(batch.token_ids.size());
    span.token_count = piece.end - piece.begin;
    span.position_begin = piece.begin;
    span.block_begin = static_cast<int32_t>(batch.block_ids.size());
    span.block_count = (piece.end + kBlockTokens - 1) / kBlockTokens;
    span.is_last = piece.end == static_cast<int32_t>(piece.ids->size());
    for (int32_t b = 0; b < span.block_count; ++b) batch.block_ids.push_back(piece.first_block + b);
    batch.token_ids.insert(batch.token_ids.end(), piece.ids->begin() + piece.begin, piece.ids->begin() + piece.end);
    batch.spans.push_back(span);
  }
  return batch;
}

class CudaModelTest : public testing::TestWithParam<DType> {
 protected:
  std::unique_ptr<LocalRunner> load(const std::string& folder, DType dtype, std::unique_ptr<Ops> ops) {
    RunnerOptions options;
    options.dtype = dtype;
    options.kv_blocks = 256;
    options.block_tokens = kBlockTokens;
    MemoryBytes planned;
    options.approve = [&](const MemoryBytes& bytes) -> Result<void> {
      planned = bytes;
      return {};
    };
    const std::string dir = std::string(QUERN_SOURCE_DIR "/") + folder;
    auto runner = LocalRunner::create(dir, *read_model_config(dir), options, std::move(ops));
    if (runner) {
      const MemoryBytes held = (*runner)->memory_bytes();
      EXPECT_EQ(planned.kv, held.kv);
      EXPECT_EQ(planned.activations, held.activations);
      EXPECT_GE(held.weights, planned.weights);
      EXPECT_LE(held.weights, planned.weights + 4 * 16 * (*runner)->config().layers);  // where the scales begin
      return std::move(*runner);
    }
    ADD_FAILURE() << folder << ": " << runner.error().message;
    return nullptr;
  }
  std::vector<std::vector<float>> run(LocalRunner& runner, const std::vector<Piece>& pieces) {
    auto result = runner.run(batch_of(pieces));
    std::vector<std::vector<float>> vectors;
    if (!result) {
      ADD_FAILURE() << result.error().message;
      return vectors;
    }
    for (const Output& output : result->vectors) vectors.push_back(output.values);
    return vectors;
  }
  /// Of 1 - cosine. One rounding to bf16 errs by 1.1e-3 in the mean square at most, and a vector has seen some tens.
  /// e4m3 errs by 2.6e-2 so; `fp8` is what that makes of the model's layers.
  double bound(double fp8) const { return GetParam() == DType::kF32 ? 1e-6 : GetParam() == DType::kE4m3 ? fp8 : 1e-4; }

  void expect_all_ways(LocalRunner& runner, const std::vector<Golden>& golden, double fp8) {
    double worst = 0;
    const auto check = [&](const std::vector<float>& got, const Golden& want) {
      worst = std::max(worst, 1 - cosine(got, want.vector));
    };
    std::vector<Piece> together;
    int32_t next_block = 0;
    for (const Golden& one : golden) {
      const int32_t T = static_cast<int32_t>(one.ids.size());
      for (int round = 0; round < 3; ++round)  // the second is captured, the third replayed
        for (const auto& vector : run(runner, {{&one.ids, 0, T, round}})) check(vector, one);
      if (T > 2) {
        run(runner, {{&one.ids, 0, T / 2, 7}});
        for (const auto& vector : run(runner, {{&one.ids, T / 2, T, 7}})) check(vector, one);
      }
      together.push_back({&one.ids, 0, T, next_block});
      next_block += (T + kBlockTokens - 1) / kBlockTokens;
    }
    const auto vectors = run(runner, together);
    ASSERT_EQ(vectors.size(), golden.size());
    for (size_t i = 0; i < golden.size(); ++i) check(vectors[i], golden[i]);
    std::printf("measured: 1 - cosine <= %.1e\n", worst);
    EXPECT_LE(worst, bound(fp8));
  }
};

TEST_P(CudaModelTest, EqualsTransformers) {
  for (const char* preset : {"f32", "f16-shards", "group1-untied", "group8", "odd", "wide-q"}) {
    SCOPED_TRACE(preset);
    auto ops = open_cuda_ops({});
    if (!ops) GTEST_SKIP() << "SKIPPED, NOTHING WAS TESTED: " << ops.error().message;
    const auto runner = load(std::string("tests/golden/models/") + preset, GetParam(), std::move(*ops));
    if (runner != nullptr) expect_all_ways(*runner, read_golden(preset), 2e-2);
  }
}

TEST_P(CudaModelTest, QuernMiniEqualsTheOracle) {
  auto ops = open_cuda_ops({});
  if (!ops) GTEST_SKIP() << "SKIPPED, NOTHING WAS TESTED: " << ops.error().message;
  const auto device = load("models/quern-mini", GetParam(), std::move(*ops));
  const auto oracle = load("models/quern-mini", DType::kF32, make_naive_ops());
  ASSERT_TRUE(device != nullptr && oracle != nullptr);
  std::mt19937 generator(1);
  std::vector<Golden> golden;
  for (const int32_t length : {1, 2, 12, 33, 130}) {
    Golden one;
    for (int32_t i = 0; i < length; ++i)
      one.ids.push_back(static_cast<int32_t>(generator() % static_cast<uint32_t>(oracle->config().vocab_size)));
    const auto vectors = run(*oracle, {{&one.ids, 0, length, 0}});
    ASSERT_EQ(vectors.size(), 1u);
    one.vector = vectors[0];
    golden.push_back(one);
  }
  expect_all_ways(*device, golden, 5e-2);  // 3.0e-2 measured
}

INSTANTIATE_TEST_SUITE_P(DTypes, CudaModelTest, testing::Values(DType::kF32, DType::kBf16, DType::kF16, DType::kE4m3));

}  // namespace
}  // namespace quern
