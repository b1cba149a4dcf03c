// Tensor parallelism on the CPU: ranks of one process, each with its own Ops and its own part of the weights, against
// the whole model.
#include <gtest/gtest.h>

#include <barrier>
#include <cstring>
#include <random>
#include <thread>

#include "model/folder_files.h"
#include "model/qwen3.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/naive.h"
#include "ops/test_forwarding_ops.h"

namespace quern {
namespace {

constexpr int32_t kBlockTokens = 16;
constexpr int32_t kBlocks = 64;

/// Sums over the ranks of one process, in the order of the ranks: all see the same bits.
class RankSum {
 public:
  explicit RankSum(int64_t ranks) : parts_(ranks), barrier_(ranks) {}

  void add(int64_t rank, std::vector<float> part, Matrix to) {
    parts_[rank] = std::move(part);
    barrier_.arrive_and_wait();
    for (int64_t r = 0; r < to.rows; ++r) {
      for (int64_t c = 0; c < to.cols; ++c) {
        float sum = 0;
        for (const auto& of_rank : parts_) sum += of_rank[r * to.cols + c];
        to.f32()[r * to.stride + c] += sum;
      }
    }
    barrier_.arrive_and_wait();  // the parts are read before the next ones come
  }

 private:
  std::vector<std::vector<float>> parts_;
  std::barrier<> barrier_;
};

/// An Ops of host memory as one rank: all as it was, but that linear_add() sums over the ranks.
class RankOps : public ForwardingOps {
 public:
  RankOps(std::unique_ptr<Ops> ops, int64_t rank, RankSum& sum)
      : ForwardingOps(std::move(ops)), rank_(rank), sum_(sum) {}

  void linear_add(Matrix x, const WeightColumns& weight, Matrix residual) override {
    std::vector<float> part(residual.rows * residual.cols, 0.0f);
    ForwardingOps::linear_add(x, weight, {part.data(), DType::kF32, residual.rows, residual.cols});
    sum_.add(rank_, std::move(part), residual);
  }

 private:
  const int64_t rank_;
  RankSum& sum_;
};

std::unique_ptr<Ops> host_ops(bool naive) {
  if (naive) return make_naive_ops();
  return std::move(*make_cpu_ops(1));
}

/// Two sequences, the second in two steps with the first one's end between; both vectors, [2, D].
std::vector<float> vectors_of(Ops& ops, const ModelConfig& config, const Shard& shard, const std::string& folder) {
  auto file = Safetensors::open(folder, *weight_files(folder));
  const ModelConfig part = *shard_of(config, shard);
  const Qwen3::Limits limits{256, 64, config.max_position_embeddings, kBlocks, kBlockTokens};
  const Precision precision = Precision::all(DType::kF32);
  EXPECT_TRUE(ops.prepare(Qwen3::shape(part, limits), precision));
  auto weights = load_qwen3_weights(*file, config, ops, DType::kF32, shard);
  if (!weights) ADD_FAILURE() << weights.error().message;
  Qwen3 model(ops, part, std::move(*weights), precision, limits);

  std::mt19937 random(1);
  std::vector<int32_t> first(23), second(50);
  for (auto* ids : {&first, &second})
    for (int32_t& id : *ids) id = static_cast<int32_t>(random() % config.vocab_size);
  const std::vector<int32_t> first_blocks = {7, 3}, second_blocks = {1, 9, 0, 12};
  std::vector<float> vectors(2 * config.hidden_size);
  const auto run = [&](const Step& step, size_t at) {
    auto started = ops.start_read(model.forward(step));
    ops.read(*started, std::span(vectors).subspan(at * config.hidden_size, step.last.count() * config.hidden_size));
  };
  Step step;
  step.add(first, 0, first_blocks, true);
  step.add(std::span(second).first(17), 0, second_blocks, false);
  run(step, 0);
  step.clear();
  step.add(std::span(second).subspan(17), 17, second_blocks, true);
  run(step, 1);
  return vectors;
}

struct Case {
  const char* preset;
  bool naive;
  int64_t ranks;
};

class Sharded : public testing::TestWithParam<Case> {};

TEST_P(Sharded, RanksGiveTheWholeModelsVectors) {
  const std::string folder = std::string(QUERN_SOURCE_DIR) + "/tests/golden/models/" + std::string(GetParam().preset);
  const auto config = read_model_config(folder);
  ASSERT_TRUE(config) << config.error().message;
  const int64_t ranks = GetParam().ranks;
  const std::vector<float> whole = vectors_of(*host_ops(GetParam().naive), *config, {}, folder);

  RankSum sum(ranks);
  std::vector<std::vector<float>> of_rank(ranks);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      RankOps ops(host_ops(GetParam().naive), rank, sum);
      of_rank[rank] = vectors_of(ops, *config, {rank, ranks}, folder);
    });
  }
  for (std::thread& thread : threads) thread.join();

  for (int64_t rank = 1; rank < ranks; ++rank) {
    EXPECT_EQ(std::memcmp(of_rank[rank].data(), of_rank[0].data(), whole.size() * sizeof(float)), 0) << rank;
  }
  float difference = 0;
  for (size_t i = 0; i < whole.size(); ++i) difference = std::max(difference, std::abs(of_rank[0][i] - whole[i]));
  EXPECT_LT(difference, 1e-5f);  // another order of the same sums
  EXPECT_GT(difference, 0.0f) << "nothing was split";
}

INSTANTIATE_TEST_SUITE_P(Cpu, Sharded,
                         testing::Values(Case{"wide-q", true, 2}, Case{"wide-q", false, 2}, Case{"wide-q", false, 4},
                                         Case{"group1-untied", false, 2}, Case{"f16-shards", false, 4}));

TEST(Shard, ASizeThatDividesNothingIsRefusedByName) {
  ModelConfig config;
  config.heads = 8, config.kv_heads = 2, config.intermediate_size = 96;
  EXPECT_EQ(shard_of(config, {1, 2})->intermediate_size, 48);
  const auto refused = shard_of(config, {0, 4});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("num_key_value_heads 2 cannot be split among 4"), std::string::npos);
}

}  // namespace
}  // namespace quern
