#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "app/model_stack.h"
#include "base/clock.h"
#include "base/version.h"
#include "cli/bench_engine.h"
#include "cli/commands.h"
#include "cli/report.h"
#include "model/known_answers.h"
#include "ops/cpu/bare_products.h"

namespace quern {
namespace {

constexpr int kRoundsMin = 3;

struct Case {
  int32_t tokens = 0;
  int32_t inputs = 0;
};

Result<std::vector<Case>> parse_cases(const std::string& text) {
  std::vector<Case> cases;
  std::istringstream words(text);
  std::string word;
  while (std::getline(words, word, ',')) {
    Case one;
    const char* end = word.data() + word.size();
    const auto tokens = std::from_chars(word.data(), end, one.tokens);
    const bool has_x = tokens.ptr != end && *tokens.ptr == 'x';
    const auto inputs = has_x ? std::from_chars(tokens.ptr + 1, end, one.inputs) : tokens;
    if (!has_x || inputs.ptr != end || one.tokens < 1 || one.inputs < 1) {
      return invalid_argument("\"" + word + "\" is not TOKENSxINPUTS, as 512x8", "--cases");
    }
    cases.push_back(one);
  }
  return cases;
}

std::vector<std::vector<int32_t>> random_inputs(const Case& one, int32_t vocab_rows) {
  std::mt19937 random(static_cast<unsigned>(one.tokens * 1000 + one.inputs));
  std::vector<std::vector<int32_t>> inputs(static_cast<size_t>(one.inputs));
  for (auto& ids : inputs) {
    for (int32_t t = 0; t < one.tokens; ++t)
      ids.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(vocab_rows)));
  }
  return inputs;
}

/// All inputs through the real scheduler and the runner, as the engine does; the vectors in input order.
Result<std::vector<Output>> compute(ModelStack& stack, const std::vector<std::vector<int32_t>>& inputs,
                                    std::vector<Batch>* steps = nullptr) {
  SchedulerConfig config = stack.scheduler_config();
  config.queue_tokens_max = 1 << 30;
  Scheduler scheduler(config);
  std::vector<SchedulerJob> jobs;
  for (size_t i = 0; i < inputs.size(); ++i) jobs.push_back({i, &inputs[i], kNoDeadline, 0});
  if (auto admitted = scheduler.admit(jobs, 0); !admitted) return admitted.error();
  std::vector<Output> vectors(inputs.size());
  while (auto batch = scheduler.next_batch(0)) {
    auto result = stack.runner().run(*batch);
    if (!result) return result.error();
    size_t row = 0;
    for (const EndedSpan& span : scheduler.finish_batch(0, batch->id)) {
      if (span.is_last) vectors[span.job_id] = std::move(result->vectors[row++]);
    }
    if (steps != nullptr) steps->push_back(std::move(*batch));
  }
  return vectors;
}

/// Before any clock starts: unit vectors, and the first input alone gives the bits it gives in company (a GPU: nearly).
Result<void> verify(ModelStack& stack, const std::vector<std::vector<int32_t>>& inputs) {
  auto together = compute(stack, inputs);
  if (!together) return together.error();
  auto alone = compute(stack, {inputs[0]});
  if (!alone) return alone.error();
  for (const Output& vector : *together) {
    if (!is_unit(vector.values)) return internal_error("a vector is not of norm 1");
  }
  if (!stack.device().is_gpu() && (*alone)[0].values != (*together)[0].values)
    return internal_error("an input gives other bits alone than in company");
  if (!(dot((*alone)[0].values, (*together)[0].values) >= known_answer_cosine_min(stack.dtype_name())))
    return internal_error("an input gives another vector alone than in company");
  return {};
}

/// The least products a step needs: in the last layer only the rows that end an input go beyond the keys and values.
std::vector<std::vector<ProductShape>> products_of(const Batch& step, const ModelConfig& m) {
  const auto rows = static_cast<int64_t>(step.token_ids.size());
  const auto pooled = static_cast<int64_t>(
      std::count_if(step.spans.begin(), step.spans.end(), [](const Span& s) { return s.is_last; }));
  const auto layer = [&](int64_t beyond) {
    std::vector<ProductShape> shapes = {{rows, m.hidden_size, 2 * m.kv_heads * m.head_dim}};
    if (beyond == 0) return shapes;
    shapes.push_back({beyond, m.hidden_size, m.heads * m.head_dim});
    shapes.push_back({beyond, m.heads * m.head_dim, m.hidden_size});
    shapes.push_back({beyond, m.hidden_size, 2 * m.intermediate_size});
    shapes.push_back({beyond, m.intermediate_size, m.hidden_size});
    return shapes;
  };
  std::vector<std::vector<ProductShape>> layers(static_cast<size_t>(m.layers), layer(rows));
  layers.back() = layer(pooled);
  return layers;
}

/// Causal attention's own products: 2 x 2 x H x d for each (query, position it sees).
double attention_flops(const std::vector<Batch>& steps, const ModelConfig& m) {
  double pairs = 0, last_layer_pairs = 0;
  for (const Batch& step : steps) {
    for (const Span& span : step.spans) {
      const double before = span.position_begin, count = span.token_count;
      pairs += count * before + count * (count + 1) / 2;
      if (span.is_last) last_layer_pairs += before + count;
    }
  }
  return 4.0 * static_cast<double>(m.heads * m.head_dim) *
         (pairs * static_cast<double>(m.layers - 1) + last_layer_pairs);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

std::string memory_field(const char* name) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind(name, 0) == 0) return line.substr(line.find_first_not_of(" \t", line.find(':') + 1));
  }
  return "unknown";
}

Result<void> run_case(ModelStack& stack, const Case& one, double seconds, int threads) {
  const ModelConfig& config = stack.folder().config;
  const auto inputs = random_inputs(one, stack.folder().vocab_rows());
  if (auto verified = verify(stack, inputs); !verified) return verified;
  std::vector<Batch> steps;
  if (auto done = compute(stack, inputs, &steps); !done) return done.error();
  std::vector<std::vector<ProductShape>> layers;
  for (const Batch& step : steps) {
    for (auto& layer : products_of(step, config)) layers.push_back(std::move(layer));
  }
  // One set of weights for each step would not fit memory; steps share a model's worth of layers in turn.
  layers.resize(std::min(layers.size(), static_cast<size_t>(config.layers)));
  double all_flops = 0;
  for (const Batch& step : steps) {
    for (const auto& layer : products_of(step, config)) {
      for (const ProductShape& shape : layer) all_flops += shape.flops();
    }
  }
  BareProducts bare(layers, stack.runner().dtype(), threads);

  std::vector<double> model_seconds, bare_seconds;
  const int64_t begin_us = now_us();
  while (model_seconds.size() < kRoundsMin || static_cast<double>(now_us() - begin_us) * 1e-6 < seconds) {
    const int64_t step_begin_us = now_us();
    if (auto done = compute(stack, inputs); !done) return done.error();
    model_seconds.push_back(static_cast<double>(now_us() - step_begin_us) * 1e-6);
    bare_seconds.push_back(bare.run_seconds());  // in turn with the model: both see the same noise
  }
  const double flops_per_second = bare.flops() / median(bare_seconds);
  const double products_s = all_flops / flops_per_second;
  const double attention_s = attention_flops(steps, config) / flops_per_second;
  const double model_s = median(model_seconds);
  const double tokens = static_cast<double>(one.tokens) * one.inputs;
  std::printf("| %dx%d | %.1f | %.1f | %.1f | %.1f | %.0f%% | %.0f%% | %zu | %s |\n", one.tokens, one.inputs,
              model_s * 1e3, tokens / model_s, tokens / products_s, flops_per_second * 1e-9, 100 * products_s / model_s,
              100 * (products_s + attention_s) / model_s, model_seconds.size(), kCommit);
  std::fflush(stdout);
  return {};
}

Result<void> bench_engine(ModelStack& stack, const BenchOptions& options) {
  const auto ids = encode_text(stack.folder(), "", options.text, false);
  if (!ids) return ids.error();
  Engine engine({stack.scheduler_config()}, {stack.replica()});
  const auto rate = closed_loop_inputs_per_second(engine, {*ids}, options.in_flight, options.seconds);
  if (!rate) return rate.error();
  std::printf("%d inputs of %zu tokens in flight: %.1f inputs/s, %.0f tokens/s, commit %s\n", options.in_flight,
              ids->size(), *rate, *rate * static_cast<double>(ids->size()), kCommit);
  return {};
}

/// The engine's rate with that many random inputs always in flight: what HTTP clients can have at best.
Result<void> run_gpu_case(ModelStack& stack, const Case& one, double seconds) {
  const auto inputs = random_inputs(one, stack.folder().vocab_rows());
  if (auto verified = verify(stack, inputs); !verified) return verified;
  Engine engine({stack.scheduler_config()}, {stack.replica()});
  const auto rate = closed_loop_inputs_per_second(engine, inputs, one.inputs, seconds);
  if (!rate) return rate.error();
  std::printf("| %dx%d | %.1f | %.0f | %s |\n", one.tokens, one.inputs, *rate, *rate * one.tokens, kCommit);
  std::fflush(stdout);
  return {};
}

Result<void> bench_gpu(ModelStack& stack, const std::vector<Case>& cases, double seconds) {
  std::printf("quern %s (%s), model %s, %s on %s\n\n", kVersion, kCommit, stack.folder().name.c_str(),
              std::string(stack.dtype_name()).c_str(), stack.device().model.c_str());
  std::printf("| tokens x inputs always in flight | inputs/s | tokens/s | commit |\n|---|---|---|---|\n");
  for (const Case& one : cases) {
    if (auto done = run_gpu_case(stack, one, seconds); !done) return done;
  }
  return {};
}

Result<void> bench(const BenchOptions& options) {
  const auto cases = parse_cases(options.cases);
  if (!cases) return cases.error();
  auto files = read_model_folder(options.model);
  if (!files) return files.error();
  auto stack = load_model(*files, options.model);
  if (!stack) return stack.error();
  if (options.in_flight > 0) return bench_engine(**stack, options);
  if ((*stack)->device().is_gpu()) return bench_gpu(**stack, *cases, options.seconds);
  const int threads = thread_count(options.model, read_machine_limits());
  const double read_rate = read_bytes_per_second(threads);
  const MemoryBytes memory = (*stack)->runner().memory_bytes();
  std::printf(
      "quern %s (%s), model %s, %s, %d threads; memory read %.1f GB/s, so the weights (%.2f GB) pass in %.1f ms\n\n",
      kVersion, kCommit, (*stack)->folder().name.c_str(), std::string((*stack)->dtype_name()).c_str(), threads,
      read_rate * 1e-9, static_cast<double>(memory.weights) * 1e-9,
      static_cast<double>(memory.weights) / read_rate * 1e3);
  std::printf(
      "| tokens x inputs | ms | tokens/s | ceiling tokens/s | ceiling GFLOP/s | share of products | share with "
      "attention | rounds | commit |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|\n");
  for (const Case& one : *cases) {
    if (auto done = run_case(**stack, one, options.seconds, threads); !done) return done;
  }
  std::printf("\npeak memory %s, now %s\n", memory_field("VmHWM").c_str(), memory_field("VmRSS").c_str());
  return {};
}

}  // namespace

int bench_command(const BenchOptions& options) {
  const auto done = bench(options);
  return done ? 0 : report_error("bench", done.error(), options.model.origins);
}

}  // namespace quern
