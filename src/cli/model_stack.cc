#include "cli/model_stack.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <future>
#include <optional>
#include <thread>

#include "api/prompts.h"
#include "cli/known_answers.h"
#include "model/model_path.h"
#include "ops/cpu/cpu_ops.h"

namespace quern {
namespace {

constexpr const char* kDefaultModel = "models/quern-mini";
constexpr int kParentFoldersMax = 4;  // build/release/quern stands two levels below the source tree

std::optional<DType> parse_dtype(const std::string& name) {
  if (name == "f32" || name == "float32") return DType::kF32;
  if (name == "bf16" || name == "bfloat16") return DType::kBf16;
  return std::nullopt;  // auto
}

int32_t thread_count(const ModelOptions& options) {
  return options.threads > 0 ? options.threads
                             : static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
}

Result<int32_t> context_tokens(const ModelOptions& options, const ModelConfig& config) {
  const auto limit = static_cast<int32_t>(config.max_position_embeddings);
  if (options.context_tokens_max > limit) {
    return invalid_argument("--context-length is " + std::to_string(options.context_tokens_max) +
                                "; the model allows at most " + std::to_string(limit) + " (max_position_embeddings)",
                            "--context-length");
  }
  return options.context_tokens_max > 0 ? options.context_tokens_max : limit;
}

}  // namespace

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

Result<ModelFiles> read_model_files(const ModelOptions& options) {
  ModelFiles files;
  std::string wanted = options.model_path.empty() ? default_model_dir() : options.model_path;
  if (wanted.empty()) return invalid_argument("no model: name a folder or ORG/NAME", "--model-path");
  auto dir = resolve_model_path(wanted);
  if (!dir) return dir.error();
  files.dir = *dir;
  const bool is_folder = std::filesystem::is_directory(wanted);
  files.name = is_folder ? std::filesystem::canonical(wanted).filename().string() : wanted;

  auto config = read_model_config(files.dir);
  if (!config) return config.error();
  files.config = *config;
  auto context = context_tokens(options, *config);
  if (!context) return context.error();
  files.context_tokens_max = *context;
  files.prompts = default_prompts();
  for (const auto& [name, prompt] : config->prompts) files.prompts[name] = prompt;

  TokenizerOptions tokenizer_options{.append_eos = config->eos_token_id.has_value(), .eos_ids = {}};
  if (config->eos_token_id) tokenizer_options.eos_ids.push_back(*config->eos_token_id);
  auto tokenizer = Tokenizer::load(files.dir + "/tokenizer.json", tokenizer_options);
  if (!tokenizer) return tokenizer.error();
  files.tokenizer = std::make_unique<Tokenizer>(std::move(*tokenizer));
  if (files.tokenizer->vocab_size() > static_cast<size_t>(files.config.vocab_size)) {
    return invalid_argument(files.dir + "/tokenizer.json has " + std::to_string(files.tokenizer->vocab_size()) +
                            " tokens; config.json says vocab_size " + std::to_string(files.config.vocab_size));
  }
  if (!files.tokenizer->eos_id()) {
    return invalid_argument(files.dir +
                            ": neither tokenizer.json's post_processor nor config.json's eos_token_id names the token "
                            "that ends an input");
  }
  return files;
}

SchedulerConfig make_scheduler_config(const ModelFiles& files, const ModelOptions& options) {
  SchedulerConfig config;
  config.batch_tokens_max = options.batch_tokens_max;
  config.batch_spans_max = options.batch_spans_max;
  config.context_tokens_max = files.context_tokens_max;
  return config;
}

Result<std::unique_ptr<ModelStack>> load_model(ModelFiles files, const ModelOptions& options) {
  const SchedulerConfig scheduler = make_scheduler_config(files, options);
  RunnerOptions runner_options;
  runner_options.dtype = parse_dtype(options.dtype);
  runner_options.batch_tokens_max = scheduler.batch_tokens_max;
  runner_options.batch_spans_max = scheduler.batch_spans_max;
  runner_options.positions_max = files.context_tokens_max;
  runner_options.kv_blocks = scheduler.total_blocks();
  runner_options.block_tokens = scheduler.block_tokens;
  auto ops = make_cpu_ops(thread_count(options));
  if (!ops) return ops.error();
  auto runner = LocalRunner::create(files.dir, runner_options, std::move(*ops));
  if (!runner) return runner.error();
  return std::make_unique<ModelStack>(std::move(files), std::move(*runner), scheduler);
}

Result<std::vector<int32_t>> encode_text(const ModelFiles& files, const std::string& prompt, const std::string& text,
                                         bool truncate) {
  EncodeOptions options;
  options.tokens_max = static_cast<size_t>(files.context_tokens_max);
  options.truncation = truncate ? Truncation::kRight : Truncation::kNone;
  return files.tokenizer->encode(prompt, text, options);
}

Result<Output> embed_text(const ModelFiles& files, Engine& engine, const std::string& prompt, const std::string& text) {
  auto ids = encode_text(files, prompt, text, false);
  if (!ids) return ids.error();
  std::promise<Result<Output>> promise;
  std::vector<Job> jobs(1);
  jobs[0].token_ids = std::move(*ids);
  jobs[0].completion = [&promise](Result<Output> vector, const JobTiming&) { promise.set_value(std::move(vector)); };
  if (auto submitted = engine.submit(std::move(jobs)); !submitted) return submitted.error();
  return promise.get_future().get();
}

Result<CheckOutcome> check_model(const ModelStack& stack, Engine& engine, const ModelOptions& options) {
  if (options.skip_check) return CheckOutcome{};
  auto answers = read_known_answers(stack.files().dir);
  if (!answers) return answers.error();
  return check_known_answers(
      *answers, known_answer_cosine_min(stack.dtype_name()),
      [&](const std::string& text, const std::string& prompt_name) -> Result<Output> {
        const auto prompt = stack.files().prompts.find(prompt_name);
        if (!prompt_name.empty() && prompt == stack.files().prompts.end()) {
          return invalid_argument("known_answers.json: the model has no prompt \"" + prompt_name + "\"");
        }
        return embed_text(stack.files(), engine, prompt_name.empty() ? "" : prompt->second, text);
      });
}

std::string describe(const Error& error) {
  return error.param.empty() ? error.message : error.param + ": " + error.message;
}

int report_error(const char* command, const Error& error) {
  std::fprintf(stderr, "quern %s: %s\n", command, describe(error).c_str());
  return error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kNotFound ? 2 : 1;
}

}  // namespace quern
