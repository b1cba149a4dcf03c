// ModelStack: one model ready to compute: files, tokenizer, runner. The one place that names ops/cpu.
//
// model/model_folder is what can be read in milliseconds (enough to serve /health and refuse bad requests); ModelStack
// adds weights.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "cli/options.h"
#include "engine/engine.h"
#include "model/model_folder.h"
#include "worker/runner.h"

namespace quern {

class ModelStack {
 public:
  ModelStack(ModelFolder files, std::unique_ptr<LocalRunner> runner, const SchedulerConfig& scheduler_config)
      : files_(std::move(files)), runner_(std::move(runner)), scheduler_config_(scheduler_config) {}

  const ModelFolder& files() const { return files_; }
  LocalRunner& runner() { return *runner_; }
  /// Limits that the runner's memory was made for; the queue's limits may be changed.
  const SchedulerConfig& scheduler_config() const { return scheduler_config_; }
  std::string_view dtype_name() const { return quern::dtype_name(runner_->dtype()); }

 private:
  ModelFolder files_;
  std::unique_ptr<LocalRunner> runner_;
  SchedulerConfig scheduler_config_;
};

/// The default model's folder (quern-mini), looked for beside the binary and in share/quern; empty when it is not
/// there.
std::string default_model_dir();

/// The folder that the flags name; default_model_dir() where they name none.
Result<ModelFolder> read_model_folder(const ModelOptions& options, bool needs_weights = true);

/// The limits that the flags ask for; the runner's memory is made for them.
SchedulerConfig make_scheduler_config(const ModelFolder& files, const ModelOptions& options);

/// Adds the weights.
Result<std::unique_ptr<ModelStack>> load_model(ModelFolder files, const ModelOptions& options);

/// Submits one text and waits for its Output.
Result<Output> embed_text(const ModelFolder& files, Engine& engine, const std::string& prompt, const std::string& text);

struct CheckOutcome;  // model/known_answers.h
/// Compares the model with its known answers, through the engine; skipped with --skip-check.
Result<CheckOutcome> check_model(const ModelStack& stack, Engine& engine, const ModelOptions& options);

/// "--flag: message" for people.
std::string describe(const Error& error);

/// Prints the error for `quern COMMAND` and gives the exit code: 2 when the call or the model folder is at fault,
/// else 1.
int report_error(const char* command, const Error& error);

}  // namespace quern
