// The model on a GPU: quality against a reference, then speed, then each op against the bytes or operations that it
// must do. Run by bench/gpu.sh, which makes the checkpoint and measures the ceilings in the same run.
//
// gpu_bench DIR [SECONDS [bf16|f16|fp8]]: DIR as bench/gpu_reference.py writes it; each figure is a loop of SECONDS.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <random>

#include "gpu_ops_bench.h"

namespace quern {
namespace {

struct Text {
  std::vector<int32_t> ids;
  std::vector<float> vector;
};

std::vector<Text> read_reference(const std::string& dir) {
  std::ifstream in(dir + "/reference.bin", std::ios::binary);
  const auto get = [&](auto* to, size_t count) {
    in.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count * sizeof(*to)));
  };
  uint32_t count = 0, width = 0;
  get(&count, 1);
  get(&width, 1);
  std::vector<Text> texts(count);
  for (Text& text : texts) {
    uint32_t length = 0;
    get(&length, 1);
    text.ids.resize(length);
    text.vector.resize(width);
    get(text.ids.data(), length);
    get(text.vector.data(), width);
  }
  if (!in) throw std::runtime_error(dir + "/reference.bin: too short");
  return texts;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0) /
         std::sqrt(std::inner_product(a.begin(), a.end(), a.begin(), 0.0) *
                   std::inner_product(b.begin(), b.end(), b.begin(), 0.0));
}

void quality(LocalRunner& runner, const std::vector<Text>& texts) {
  double worst = 1, sum = 0, company = 1;
  std::vector<std::vector<int32_t>> together;
  std::vector<std::vector<float>> alone;
  size_t tokens = 0;
  for (const Text& text : texts) {
    alone.push_back(must(runner.run(batch_of({text.ids}))).vectors[0].values);
    const double c = cosine(alone.back(), text.vector);
    std::printf("quality length %zu cosine %.6f\n", text.ids.size(), c);
    worst = std::min(worst, c);
    sum += c;
    if (tokens + text.ids.size() <= kStepTokens) together.push_back(text.ids);
    tokens += text.ids.size();
  }
  const auto batched = must(runner.run(batch_of(together))).vectors;
  for (size_t i = 0; i < batched.size(); ++i) company = std::min(company, cosine(batched[i].values, alone[i]));
  std::printf("quality texts %zu cosine_min %.6f cosine_mean %.6f alone_vs_batched_min %.7f\n", texts.size(), worst,
              sum / static_cast<double>(texts.size()), company);
}

class Load {
 public:
  Load(LocalRunner& runner, double seconds) : runner_(runner), seconds_(seconds) {}

  std::vector<std::vector<int32_t>> random(size_t count, int64_t length) {
    std::uniform_int_distribution<int32_t> id(0, static_cast<int32_t>(runner_.config().vocab_size) - 1);
    std::vector<std::vector<int32_t>> all(count, std::vector<int32_t>(static_cast<size_t>(length)));
    for (auto& ids : all)
      for (int32_t& value : ids) value = id(generator_);
    return all;
  }

  /// Two batches in flight, as the engine keeps them.
  void throughput(int64_t length) {
    const Batch batch = batch_of(random(static_cast<size_t>(kStepTokens / length), length));
    must(runner_.run(batch));
    must(runner_.start(batch));
    const double start = now_s();
    int64_t steps = 0;
    while (now_s() - start < seconds_) {
      must(runner_.start(batch));
      must(runner_.finish());
      ++steps;
    }
    const double elapsed = now_s() - start;
    must(runner_.finish());
    std::printf("speed %lld-token inputs, steps of %lld: %.0f tokens/s, %.2f ms a step\n",
                static_cast<long long>(length), static_cast<long long>(kStepTokens),
                static_cast<double>(steps * kStepTokens) / elapsed, 1e3 * elapsed / static_cast<double>(steps));
  }

  void latency(size_t count, int64_t length) {
    std::vector<double> times;
    const double start = now_s();
    while (now_s() - start < seconds_ / 2 || times.size() < 10) {
      const Batch batch = batch_of(random(count, length));
      const double before = now_s();
      must(runner_.run(batch));
      times.push_back(now_s() - before);
    }
    std::sort(times.begin(), times.end());
    std::printf("speed %zu x %lld tokens at once: p50 %.2f ms, p99 %.2f ms, %zu runs\n", count,
                static_cast<long long>(length), 1e3 * times[times.size() / 2], 1e3 * times[times.size() * 99 / 100],
                times.size());
  }

  void long_input() {
    std::vector<double> times;
    for (int round = 0; round < 4; ++round) {
      const auto ids = random(1, kPositions)[0];
      const double before = now_s();
      for (int64_t at = 0; at < kPositions; at += kStepTokens) {
        const std::vector<int32_t> chunk(ids.begin() + at, ids.begin() + at + kStepTokens);
        must(runner_.start(batch_of({chunk}, static_cast<int32_t>(at), at + kStepTokens == kPositions)));
        if (at > 0) must(runner_.finish());
      }
      must(runner_.finish());
      times.push_back(now_s() - before);
    }
    std::sort(times.begin(), times.end());
    std::printf("speed one input of %lld tokens: %.1f ms\n", static_cast<long long>(kPositions), 1e3 * times[1]);
  }

 private:
  LocalRunner& runner_;
  double seconds_;
  std::mt19937 generator_{7};
};

int run(const std::string& dir, double seconds, DType dtype) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto texts = read_reference(dir);
  RunnerOptions options;
  options.dtype = dtype;
  options.batch_tokens_max = kStepTokens;
  options.batch_spans_max = 1024;
  options.positions_max = kPositions;
  options.kv_blocks = kPositions / kBlockTokens;
  options.block_tokens = kBlockTokens;
  ModelConfig config;
  {
    const double start = now_s();
    auto runner = must(LocalRunner::create(dir, must(read_model_config(dir)), options, must(open_cuda_ops({}))));
    must(runner->run(batch_of({texts[0].ids})));
    std::printf(
        "start: %.2f s to the first vector; weights %.0f MiB, K/V %.0f MiB, activations %.0f MiB, scratch %.0f MiB\n",
        now_s() - start, static_cast<double>(runner->memory_bytes().weights) / 1048576,
        static_cast<double>(runner->memory_bytes().kv) / 1048576,
        static_cast<double>(runner->memory_bytes().activations) / 1048576,
        static_cast<double>(runner->memory_bytes().scratch) / 1048576);
    config = runner->config();
    quality(*runner, texts);
    Load load(*runner, seconds);
    for (const int64_t length : {512, 2048, 8192}) load.throughput(length);
    load.latency(1, 12);
    load.latency(32, 12);
    load.latency(256, 12);
    load.long_input();
  }
  OpsBench(config, seconds, Precision::of(dtype)).run();
  return 0;
}

}  // namespace
}  // namespace quern

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: gpu_bench DIR [SECONDS [bf16|f16|fp8]]\n");
    return 2;
  }
  try {
    const std::string dtype = argc > 3 ? argv[3] : "bf16";
    for (const auto one : {quern::DType::kBf16, quern::DType::kF16, quern::DType::kE4m3})
      if (quern::dtype_name(one) == dtype) return quern::run(argv[1], argc > 2 ? std::stod(argv[2]) : 6.0, one);
    throw std::invalid_argument("expected bf16, f16 or fp8, found " + dtype);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpu_bench: %s\n", error.what());
    return 1;
  }
}
