// Every position of the real models against transformers (tests/golden/long.bin), in chunks of odd sizes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>

#include "ops/cpu/cpu_ops.h"
#include "worker/runner.h"

namespace quern {
namespace {

constexpr int32_t kTokensMax = 1024;
constexpr int32_t kBlockTokens = 16;
constexpr int32_t kPositions = 32768;
constexpr int32_t kVocabulary = 256;

struct Long {
  uint32_t tokens = 0;
  std::vector<int32_t> ids;
  std::vector<float> vector;
};

std::vector<Long> read_long() {
  std::ifstream in(QUERN_SOURCE_DIR "/tests/golden/long.bin", std::ios::binary);
  const auto read = [&](void* to, size_t bytes) {
    in.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
  };
  uint32_t count = 0;
  read(&count, 4);
  std::vector<Long> all(count);
  for (Long& one : all) {
    uint32_t header[3] = {};  // tokens, seed, width
    read(header, sizeof header);
    one.tokens = header[0];
    for (uint32_t state = header[1]; one.ids.size() < one.tokens;) {
      state = state * 1664525u + 1013904223u;
      one.ids.push_back(static_cast<int32_t>((state >> 16) % kVocabulary));
    }
    one.vector.resize(header[2]);
    read(one.vector.data(), one.vector.size() * sizeof(float));
  }
  EXPECT_TRUE(in.good() && count == 3);
  return all;
}

/// The vector of one input that comes in chunks, whose sizes are taken from `chunks` in turn.
std::vector<float> run_in_chunks(LocalRunner& runner, const std::vector<int32_t>& ids, std::vector<int32_t> chunks) {
  const auto tokens = static_cast<int32_t>(ids.size());
  for (int32_t begin = 0, i = 0; begin < tokens; ++i) {
    const int32_t count = std::min(chunks[i % chunks.size()], tokens - begin);
    Batch batch;
    batch.token_ids.assign(ids.begin() + begin, ids.begin() + begin + count);
    Span span;
    span.token_count = count;
    span.position_begin = begin;
    span.block_count = (begin + count + kBlockTokens - 1) / kBlockTokens;
    span.is_last = begin + count == tokens;
    batch.spans.push_back(span);
    for (int32_t b = 0; b < span.block_count; ++b) batch.block_ids.push_back(kPositions / kBlockTokens - 1 - b);
    auto result = runner.run(batch);
    if (!result) {
      ADD_FAILURE() << result.error().message;
      return {};
    }
    begin += count;
    if (begin == tokens) return result->vectors[0].values;
  }
  return {};
}

TEST(LongInputs, EqualTransformersAtEveryPositionInAnyChunks) {
  RunnerOptions options;
  options.dtype = DType::kF32;
  options.batch_tokens_max = kTokensMax;
  options.kv_blocks = kPositions / kBlockTokens;
  options.block_tokens = kBlockTokens;
  const std::string folder = QUERN_SOURCE_DIR "/tests/golden/models/long";
  auto runner = LocalRunner::create(folder, *read_model_config(folder), options, std::move(*make_cpu_ops(2)));
  ASSERT_TRUE(runner.ok()) << runner.error().message;
  for (const Long& one : read_long()) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    if (one.tokens > 10'000) {
      std::printf("SKIPPED: %u tokens take minutes with sanitizers\n", one.tokens);
      continue;
    }
#endif
    const auto vector = run_in_chunks(**runner, one.ids, {1024, 1, 777, 65, 513});
    ASSERT_EQ(vector.size(), one.vector.size());
    const double cosine = std::inner_product(vector.begin(), vector.end(), one.vector.begin(), 0.0) /
                          std::sqrt(squared_norm(vector) * squared_norm(one.vector));
    std::printf("measured: %u tokens, 1 - cosine = %.1e\n", one.tokens, 1 - cosine);
    EXPECT_GT(cosine, 1 - 1e-6) << one.tokens << " tokens";
    if (one.tokens < 10'000) {
      EXPECT_EQ(run_in_chunks(**runner, one.ids, {1023}), vector);
    }
  }
}

}  // namespace
}  // namespace quern
