// ModelStack: one model ready to compute: files, tokenizer, runner. The one place that names ops/cpu.
//
// ModelFiles is what can be read in milliseconds (enough to serve /health and refuse bad requests); ModelStack adds
// weights.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "cli/options.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"
#include "worker/runner.h"

namespace quern {

struct ModelFiles {
  std::string dir;
  std::string name;  // the folder's name, or ORG/NAME as it was given
  ModelConfig config;
  std::unique_ptr<Tokenizer> tokenizer;
  std::map<std::string, std::string> prompts;  // prompt_name -> text in front of the input
  int32_t context_tokens_max = 0;

  int32_t width() const { return static_cast<int32_t>(config.hidden_size); }
  int32_t vocab_rows() const { return static_cast<int32_t>(config.vocab_size); }
};

class ModelStack {
 public:
  ModelStack(ModelFiles files, std::unique_ptr<LocalRunner> runner, const SchedulerConfig& scheduler_config)
      : files_(std::move(files)), runner_(std::move(runner)), scheduler_config_(scheduler_config) {}

  const ModelFiles& files() const { return files_; }
  LocalRunner& runner() { return *runner_; }
  /// Limits that the runner's memory was made for; the queue's limits may be changed.
  const SchedulerConfig& scheduler_config() const { return scheduler_config_; }
  std::string_view dtype_name() const { return quern::dtype_name(runner_->dtype()); }

 private:
  ModelFiles files_;
  std::unique_ptr<LocalRunner> runner_;
  SchedulerConfig scheduler_config_;
};

/// The default model's folder (quern-mini), looked for beside the binary and in share/quern; empty when it is not
/// there.
std::string default_model_dir();

/// Reads config, prompts and tokenizer. Errors name file, field, expected and found.
Result<ModelFiles> read_model_files(const ModelOptions& options);

/// The limits that the flags ask for; the runner's memory is made for them.
SchedulerConfig make_scheduler_config(const ModelFiles& files, const ModelOptions& options);

/// Adds the weights.
Result<std::unique_ptr<ModelStack>> load_model(ModelFiles files, const ModelOptions& options);

/// Tokens of `prompt + text`, EOS included. kInvalidArgument when they are over the context length and `truncate` is
/// not set.
Result<std::vector<int32_t>> encode_text(const ModelFiles& files, const std::string& prompt, const std::string& text,
                                         bool truncate);

/// Submits one text and waits for its Output.
Result<Output> embed_text(const ModelFiles& files, Engine& engine, const std::string& prompt, const std::string& text);

struct CheckOutcome;  // cli/known_answers.h
/// Compares the model with its known answers, through the engine; skipped with --skip-check.
Result<CheckOutcome> check_model(const ModelStack& stack, Engine& engine, const ModelOptions& options);

/// "--flag: message" for people.
std::string describe(const Error& error);

/// Prints the error for `quern COMMAND` and gives the exit code: 2 when the call or the model folder is at fault,
/// else 1.
int report_error(const char* command, const Error& error);

}  // namespace quern
