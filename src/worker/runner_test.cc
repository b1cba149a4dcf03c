// A replica in this process: what it loads, two batches in flight, and that a failing allocation costs one batch.
#include "worker/runner.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/test_failing_new.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/naive.h"

// oneDNN loses what it had made when an allocation of its own fails: its affair, and bounded by how often that happens.
extern "C" const char* __lsan_default_suppressions() { return "leak:libdnnl"; }

namespace quern {
namespace {

using failing_new::allocations_left;

const std::string kModel = QUERN_SOURCE_DIR "/tests/golden/models/odd";

Result<std::unique_ptr<LocalRunner>> make_runner(const std::string& folder, int32_t positions_max = 0,
                                                 MemoryBytes* planned = nullptr) {
  RunnerOptions options;
  options.dtype = DType::kF32;
  options.batch_tokens_max = 256;
  options.kv_blocks = 32;
  options.positions_max = positions_max;
  options.approve = [planned](const MemoryBytes& bytes) -> Result<void> {
    if (planned != nullptr) *planned = bytes;
    return {};
  };
  const auto config = read_model_config(folder);
  if (!config) return config.error();
  return LocalRunner::create(folder, *config, options, std::move(*make_cpu_ops(2)));
}

/// `inputs` sequences of `tokens` tokens, each in four blocks of its own.
Batch make_batch(uint64_t id, int32_t inputs, int32_t tokens, int32_t salt = 0) {
  Batch batch;
  batch.id = id;
  for (int32_t i = 0; i < inputs; ++i) {
    Span span;
    span.job_id = static_cast<uint64_t>(i);
    span.token_begin = i * tokens;
    span.token_count = tokens;
    span.block_begin = 4 * i;
    span.block_count = 4;
    span.is_last = true;
    batch.spans.push_back(span);
    for (int32_t t = 0; t < tokens; ++t) batch.token_ids.push_back((salt + 7 * i + 31 * t) % 333);
    for (int32_t b = 0; b < 4; ++b) batch.block_ids.push_back(4 * i + b);
  }
  return batch;
}

std::vector<std::vector<float>> values_of(const Result<BatchResult>& result) {
  std::vector<std::vector<float>> values;
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  if (result.ok())
    for (const Output& vector : result.value().vectors) values.push_back(vector.values);
  return values;
}

TEST(LocalRunnerTest, TwoBatchesInFlightEndInOrderWithTheirOwnVectors) {
  auto runner = std::move(*make_runner(kModel));
  const Batch a = make_batch(1, 3, 40), b = make_batch(2, 2, 50, 5);
  const auto alone_a = values_of(runner->run(a)), alone_b = values_of(runner->run(b));
  ASSERT_NE(alone_a[0], alone_b[0]);
  ASSERT_TRUE(runner->start(a).ok());
  ASSERT_TRUE(runner->start(b).ok());
  const auto first = runner->finish();
  ASSERT_EQ(first.value().batch_id, 1u);
  EXPECT_EQ(values_of(first), alone_a);
  const auto second = runner->finish();
  ASSERT_EQ(second.value().batch_id, 2u);
  EXPECT_EQ(values_of(second), alone_b);
}

TEST(LocalRunnerTest, TheMemoryIsKnownBeforeTheWeightsAreRead) {
  const std::string folder = QUERN_SOURCE_DIR "/models/quern-mini";  // whose widths packing does not pad
  RunnerOptions options;
  options.dtype = DType::kF32;
  MemoryBytes planned;
  options.approve = [&planned](const MemoryBytes& bytes) -> Result<void> {
    planned = bytes;
    return {};
  };
  const auto runner = LocalRunner::create(folder, *read_model_config(folder), options, std::move(*make_cpu_ops(1)));
  ASSERT_TRUE(runner.ok()) << runner.error().message;
  const MemoryBytes held = runner.value()->memory_bytes();
  EXPECT_EQ(planned.kv, held.kv);
  EXPECT_EQ(planned.activations, held.activations);
  EXPECT_GE(held.weights, planned.weights);
  EXPECT_LT(static_cast<double>(held.weights), 1.02 * static_cast<double>(planned.weights));

  options.approve = [](const MemoryBytes&) -> Result<void> { return invalid_argument("too much", "--context-length"); };
  const auto refused = LocalRunner::create(folder, *read_model_config(folder), options, std::move(*make_cpu_ops(1)));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().param, "--context-length");
}

TEST(LocalRunnerTest, ABrokenBatchIsRefusedAndIsNotInFlight) {
  auto runner = std::move(*make_runner(kModel, 60));
  Batch beyond = make_batch(1, 1, 61);
  EXPECT_NE(runner->start(beyond).error().message.find("positions must lie within 0..60"), std::string::npos);
  Batch outside = make_batch(1, 1, 5);
  outside.token_ids[3] = 333;
  EXPECT_EQ(runner->run(outside).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(values_of(runner->run(make_batch(2, 1, 60))).size(), 1u);
}

TEST(LocalRunnerTest, EachFailedAllocationCostsItsBatchAndNoOther) {
  const Batch batch = make_batch(1, 4, 50), other = make_batch(2, 1, 33, 3);
  auto reference = std::move(*make_runner(kModel));
  const auto want = values_of(reference->run(batch)), want_other = values_of(reference->run(other));
  // A new runner for each N up to 16, as a first batch allocates scratch on every thread; then one for all the others.
  std::unique_ptr<LocalRunner> runner;
  int failed = 0;
  for (int64_t n = 0;; ++n) {
    if (n <= 16) runner = std::move(*make_runner(kModel));
    allocations_left = n;
    auto result = runner->run(batch);
    const bool reached = allocations_left.exchange(-1) < 0;
    if (!result) {
      ++failed;
      EXPECT_EQ(result.error().code, ErrorCode::kInternal) << n;
    } else {
      EXPECT_EQ(values_of(result), want) << n;
    }
    ASSERT_EQ(values_of(runner->run(other)), want_other) << n;
    ASSERT_EQ(values_of(runner->run(batch)), want) << n;
    if (!reached && n > 16) break;
    ASSERT_LT(n, 100'000);
  }
  EXPECT_GT(failed, 20);
}

TEST(LocalRunnerTest, EachFailedAllocationWhileLoadingIsAnError) {
  int failed = 0;
  for (int64_t n = 0; n < 100'000; ++n) {
    RunnerOptions options;
    options.dtype = DType::kF32;
    auto ops = std::move(*make_cpu_ops(1));
    const ModelConfig config = *read_model_config(kModel);
    allocations_left = n;
    auto runner = LocalRunner::create(kModel, config, options, std::move(ops));
    const bool reached = allocations_left.exchange(-1) < 0;
    if (!runner) ++failed;  // of simdjson's own allocations it is an error of the file that could not be read
    if (!reached) break;
  }
  EXPECT_GT(failed, 20);
}

/// A copy of the golden model whose checkpoint is written anew.
class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "quern_runner_" + std::to_string(getpid());
    std::filesystem::copy(kModel, dir_, std::filesystem::copy_options::recursive);
    std::ifstream in(kModel + "/model.safetensors", std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
    entries_ = *parse_safetensors_header(bytes_, bytes_.size(), "golden");
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  /// All tensors moved by `pad` bytes, the first of them those of a tensor that nobody uses.
  void write(size_t pad, const std::string& unused_dtype, const std::string& unused_shape) {
    std::string header = "{\"unused\":{\"dtype\":\"" + unused_dtype + "\",\"shape\":" + unused_shape +
                         ",\"data_offsets\":[0," + std::to_string(pad) + "]}";
    std::string data(pad, '\xff');
    for (const SafetensorsEntry& entry : entries_) {
      std::string shape;
      for (const int64_t size : entry.shape) shape += (shape.empty() ? "" : ",") + std::to_string(size);
      const size_t begin = data.size();
      std::string dtype = entry.name == retyped_ ? "I16" : entry.dtype;
      if (entry.name == widened_) {
        ASSERT_EQ(dtype, "BF16");
        dtype = "F32";
        for (size_t at = entry.begin; at < entry.end; at += 2) data.append("\0\0", 2).append(bytes_, at, 2);
      } else {
        data.append(bytes_, entry.begin, entry.end - entry.begin);
      }
      header += ",\"" + entry.name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" +
                std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
    }
    header += "}";
    uint64_t length = header.size();
    std::string prefix(8, '\0');
    std::memcpy(prefix.data(), &length, 8);
    std::ofstream(dir_ + "/model.safetensors", std::ios::binary) << prefix << header << data;
  }

  std::string dir_, bytes_, retyped_, widened_;
  std::vector<SafetensorsEntry> entries_;
};

TEST_F(CheckpointTest, OddOffsetsAndForeignUnusedTensorsChangeNoBit) {
  const Batch batch = make_batch(1, 3, 40);
  const auto want = values_of((*make_runner(kModel))->run(batch));
  struct Unused {
    size_t bytes;
    const char *dtype, *shape;
  };
  for (const Unused u : {Unused{1, "U8", "[1]"},
                         {3, "BOOL", "[3]"},
                         {8, "I64", "[]"},
                         {16, "I64", "[1,2]"},
                         {5, "F8_E4M3", "[5]"},
                         {0, "F32", "[0]"}}) {
    write(u.bytes, u.dtype, u.shape);
    auto runner = make_runner(dir_);
    ASSERT_TRUE(runner.ok()) << u.dtype << ": " << runner.error().message;
    EXPECT_EQ(values_of((*runner)->run(batch)), want) << u.bytes << " bytes before";
  }
}

TEST_F(CheckpointTest, AUsedTensorOfAForeignDtypeIsRefusedByName) {
  retyped_ = "model.layers.1.mlp.up_proj.weight";
  write(1, "U8", "[1]");
  const auto runner = make_runner(dir_);
  ASSERT_FALSE(runner.ok());
  EXPECT_NE(runner.error().message.find("tensor \"" + retyped_ + "\": expected F32, BF16 or F16, found I16"),
            std::string::npos)
      << runner.error().message;
}

TEST_F(CheckpointTest, ThePlanKnowsTheTablesOwnDtype) {
  const Batch batch = make_batch(1, 3, 40);
  const auto want = values_of((*make_runner(kModel))->run(batch));
  size_t held_before = 0;
  for (const char* widened : {"", "model.embed_tokens.weight"}) {
    widened_ = widened;
    write(size_t{1} << 20, "BF16", "[524288]");  // so that most bytes are BF16 whatever the table is
    MemoryBytes planned;
    auto runner = make_runner(dir_, 0, &planned);
    ASSERT_TRUE(runner.ok()) << runner.error().message;
    const MemoryBytes held = (*runner)->memory_bytes();
    EXPECT_EQ(planned.kv, held.kv);
    EXPECT_EQ(planned.activations, held.activations);
    EXPECT_GE(held.weights, planned.weights);
    if (held_before == 0) {
      held_before = held.weights - planned.weights;  // what packing pads
    } else {
      EXPECT_EQ(held.weights - planned.weights, held_before);
    }
    EXPECT_EQ(values_of((*runner)->run(batch)), want) << "f32 holds every bf16";
  }
}

TEST_F(CheckpointTest, ThePlanKnowsEveryPrecision) {
  write(0, "U8", "[0]");
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16, DType::kE4m3}) {
    MemoryBytes planned;
    RunnerOptions options;
    options.dtype = dtype;
    options.approve = [&](const MemoryBytes& bytes) -> Result<void> {
      planned = bytes;
      return {};
    };
    auto runner = LocalRunner::create(dir_, *read_model_config(dir_), options, make_naive_ops());
    ASSERT_TRUE(runner.ok()) << runner.error().message;
    const MemoryBytes held = (*runner)->memory_bytes();
    EXPECT_EQ(planned.kv, held.kv);
    EXPECT_EQ(planned.activations, held.activations);
    if (dtype == DType::kF32) {
      EXPECT_EQ(planned.weights, held.weights);  // the oracle holds all of them so
    }
    EXPECT_EQ((*runner)->dtype(), dtype);
  }
}

/// What f16 cannot hold becomes infinite, and no vector.
TEST_F(CheckpointTest, AnOverflowOfF16IsRefused) {
  for (const auto& entry : entries_) {
    if (entry.name.find("mlp.up_proj") == std::string::npos) continue;
    ASSERT_EQ(entry.dtype, "BF16");
    for (size_t at = entry.begin; at < entry.end; at += 2) {
      bf16 bits = 0;
      std::memcpy(&bits, &bytes_[at], 2);
      bits = f32_to_bf16(bf16_to_f32(bits) * 0x1p13f);  // the weights themselves are still f16's
      std::memcpy(&bytes_[at], &bits, 2);
    }
  }
  write(0, "U8", "[0]");
  for (const DType dtype : {DType::kBf16, DType::kF16}) {
    RunnerOptions options;
    options.dtype = dtype;
    auto runner = LocalRunner::create(dir_, *read_model_config(dir_), options, make_naive_ops());
    ASSERT_TRUE(runner.ok()) << runner.error().message;
    const auto result = (*runner)->run(make_batch(1, 3, 40));
    ASSERT_EQ(result.ok(), dtype == DType::kBf16);
    if (result.ok()) continue;
    EXPECT_NE(result.error().message.find("not finite"), std::string::npos) << result.error().message;
  }
}

TEST_F(CheckpointTest, TheFileMayBeCutUnderARunningModel) {
  auto runner = std::move(*make_runner(dir_));
  const Batch batch = make_batch(1, 3, 40);
  const auto want = values_of(runner->run(batch));
  std::filesystem::resize_file(dir_ + "/model.safetensors", 0);
  EXPECT_EQ(values_of(runner->run(make_batch(2, 4, 60, 100))).size(), 4u);
  EXPECT_EQ(values_of(runner->run(batch)), want);
}

TEST_F(CheckpointTest, AConfigBeyondTheKernelsIsRefusedAtStart) {
  std::ifstream in(dir_ + "/config.json");
  std::string text(std::istreambuf_iterator<char>(in), {});
  const auto at = text.find("\"head_dim\": 18");
  ASSERT_NE(at, std::string::npos);
  for (const auto& [found, message] : {std::pair<std::string, std::string>{"19", "head_dim"}, {"4096", "head_dim"}}) {
    std::string changed = text;
    changed.replace(at, 14, "\"head_dim\": " + found);
    std::ofstream(dir_ + "/config.json") << changed;
    const auto runner = make_runner(dir_);
    ASSERT_FALSE(runner.ok()) << found;
    EXPECT_NE(runner.error().message.find(message), std::string::npos) << runner.error().message;
  }
}

}  // namespace
}  // namespace quern
