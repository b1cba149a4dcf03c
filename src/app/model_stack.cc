#include "app/model_stack.h"

#include <algorithm>
#include <filesystem>
#include <future>
#include <optional>

#include "base/excerpt.h"
#include "model/known_answers.h"
#include "worker/local_replica.h"

namespace quern {
namespace {

constexpr const char* kDefaultModel = "models/quern-mini";
constexpr int kParentFoldersMax = 4;  // build/release/quern stands two levels below the source tree

}  // namespace

// Other servers' lines for a GPU say half, and run on a CPU all the same.
Result<std::optional<DType>> chosen_dtype(const ModelOptions& options, const Device& device) {
  const std::string& name = options.dtype;
  std::optional<DType> dtype;
  if (name == "f32" || name == "float32") dtype = DType::kF32;
  if (name == "bf16" || name == "bfloat16") dtype = DType::kBf16;
  if (name == "f16" || (device.is_gpu() && (name == "half" || name == "float16"))) dtype = DType::kF16;
  if (options.quantization == "none") return dtype;
  if (!device.is_gpu())
    return invalid_argument("fp8 is computed on a GPU alone; leave --quantization out on a CPU", "--quantization");
  if (dtype && *dtype != DType::kBf16)
    return invalid_argument("is " + excerpt(name) + "; with --quantization fp8 allowed: auto, bf16", "--dtype");
  return std::optional(DType::kE4m3);
}

std::string default_model_dir() {
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  std::vector<std::filesystem::path> places;
  for (int level = 0; level < kParentFoldersMax && !folder.empty(); ++level, folder = folder.parent_path()) {
    places.push_back(folder / kDefaultModel);
    places.push_back(folder / "share/quern" / kDefaultModel);
  }
  for (const auto& place : places) {
    if (std::filesystem::exists(place / "config.json", ignored)) return place.string();
  }
  return "";
}

Result<ModelFolder> read_model_folder(const ModelOptions& options, bool needs_weights) {
  ModelFolderOptions wanted;
  wanted.path = options.model_path.value_or(default_model_dir());
  wanted.revision = options.revision;
  wanted.context_tokens_max = options.context_tokens_max;
  wanted.append_eos = options.append_eos;
  wanted.needs_weights = needs_weights;
  if (!options.model_path && wanted.path.empty())
    return invalid_argument("no model: name a folder or ORG/NAME", "--model-path");
  return read_model_folder(wanted);
}

Result<SchedulerConfig> make_scheduler_config(const ModelFolder& folder, const ModelOptions& options,
                                              const Device& device) {
  SchedulerConfig config;
  config.batch_tokens_max = options.batch_tokens_max.value_or(device.default_batch_tokens());
  config.batch_spans_max = options.batch_spans_max.value_or(device.default_batch_spans());
  config.batches_in_flight_max = device.batches_in_flight_max();
  config.context_tokens_max = folder.context_tokens_max;
  config.brief_batch_tokens_max =
      options.query_batch_tokens_max.value_or(std::min(device.default_query_batch_tokens(), config.batch_tokens_max));
  const int32_t brief = config.brief_batch_tokens_max;
  if (options.query_batch_tokens_max && brief != 0 && (brief < kBatchTokensMin || brief > config.batch_tokens_max)) {
    return invalid_argument("is " + std::to_string(brief) + "; allowed: 0, or " + std::to_string(kBatchTokensMin) +
                                " to --max-batch-tokens, " + std::to_string(config.batch_tokens_max),
                            "--max-query-batch-tokens");
  }
  // What nobody asked for is left out where it does not fit what was asked for.
  if (!options.query_batch_tokens_max && config.batch_spans_max < config.spans_least())
    config.brief_batch_tokens_max = 0;
  if (auto ok = check_steps(config); !ok) return ok.error();
  config.long_tokens_spare = options.spare_kv_tokens;
  return config;
}

Result<std::unique_ptr<ModelStack>> load_model(const ModelFolder& folder, const ModelOptions& options,
                                               OpenDevice opened, const SchedulerConfig& scheduler,
                                               const ApproveMemory& approve) {
  const auto dtype = chosen_dtype(options, opened.device);
  if (!dtype) return dtype.error();
  RunnerOptions runner_options;
  runner_options.dtype = *dtype;
  runner_options.batch_tokens_max = scheduler.batch_tokens_max;
  runner_options.batch_spans_max = scheduler.batch_spans_max;
  runner_options.positions_max = folder.context_tokens_max;
  runner_options.kv_blocks = scheduler.total_blocks();
  runner_options.block_tokens = scheduler.block_tokens;
  runner_options.approve = [&](const MemoryBytes& bytes) {
    MemoryPlan plan;
    plan.weights_bytes = static_cast<int64_t>(bytes.weights);
    plan.activations_bytes = static_cast<int64_t>(bytes.activations);
    plan.kv_bytes = static_cast<int64_t>(bytes.kv);
    plan.scratch_bytes = static_cast<int64_t>(bytes.scratch);
    plan.context_tokens_max = folder.context_tokens_max;
    plan.batch_tokens_max = scheduler.batch_tokens_max;
    plan.block_tokens = scheduler.block_tokens;
    plan.kv_bytes_per_block = plan.kv_bytes / scheduler.total_blocks();
    return approve(plan);
  };
  auto runner = LocalRunner::create(folder.weights_dir, folder.config, runner_options, std::move(opened.ops));
  if (!runner) return runner.error();
  return std::make_unique<ModelStack>(folder, std::move(opened.device), std::move(*runner), scheduler);
}

Result<std::unique_ptr<ModelStack>> load_model(const ModelFolder& folder, const ModelOptions& options,
                                               OpenDevice opened, const MachineLimits& machine) {
  const Device device = opened.device;
  const auto scheduler = make_scheduler_config(folder, options, device);
  if (!scheduler) return scheduler.error();
  return load_model(folder, options, std::move(opened), *scheduler,
                    [&](const MemoryPlan& plan) { return check_memory(plan, machine, device); });
}

Result<std::unique_ptr<ModelStack>> load_model(const ModelFolder& folder, const ModelOptions& options) {
  const MachineLimits machine = read_machine_limits();
  auto opened = open_device(options, machine);
  if (!opened) return opened.error();
  return load_model(folder, options, std::move(*opened), machine);
}

MakeReplica ModelStack::replica() { return local_replica(*runner_, scheduler_config_.batches_in_flight_max); }

Result<Output> embed_ids(Engine& engine, std::vector<int32_t> ids) {
  std::promise<Result<Output>> promise;
  std::vector<Job> jobs(1);
  jobs[0].token_ids = std::move(ids);
  jobs[0].completion = [&promise](Result<Output> vector, const JobTiming&) { promise.set_value(std::move(vector)); };
  if (auto submitted = engine.submit(std::move(jobs)); !submitted) return submitted.error();
  return promise.get_future().get();
}

Result<Output> embed_text(const ModelFolder& folder, Engine& engine, const std::string& prompt,
                          const std::string& text) {
  auto ids = encode_text(folder, prompt, text, false);
  if (!ids) return ids.error();
  return embed_ids(engine, std::move(*ids));
}

Result<CheckOutcome> check_model(const ModelStack& stack, Engine& engine, const ModelOptions& options) {
  if (options.skip_check) return CheckOutcome{};
  auto answers = read_known_answers(stack.folder().dir);
  if (!answers) return answers.error();
  const ModelFolder& folder = stack.folder();
  return check_known_answers(
      *answers, known_answer_cosine_min(stack.dtype_name()),
      [&](const std::string& text, const std::string& prompt_name) -> Result<std::optional<Output>> {
        const auto prompt = folder.prompts.find(prompt_name);
        if (!prompt_name.empty() && prompt == folder.prompts.end()) {
          return invalid_argument("known_answers.json: the model has no prompt \"" + excerpt(prompt_name) + "\"");
        }
        const std::string before = prompt_name.empty() ? "" : prompt->second;
        auto ids = folder.tokenizer->encode(before, text, EncodeOptions{});
        if (!ids) return ids.error();
        if (ids->size() > static_cast<size_t>(folder.context_tokens_max)) return std::optional<Output>();
        auto output = embed_ids(engine, std::move(*ids));
        if (!output) return output.error();
        return std::optional(std::move(*output));
      });
}

}  // namespace quern
