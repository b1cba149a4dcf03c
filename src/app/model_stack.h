// ModelStack: one model ready to compute: files, tokenizer, device, runner.
//
// model/model_folder is what can be read in milliseconds (enough to serve /health and refuse bad requests); ModelStack
// adds weights.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/device.h"
#include "app/machine.h"
#include "app/memory_plan.h"
#include "app/options.h"
#include "base/result.h"
#include "core/replica.h"
#include "engine/engine.h"
#include "model/model_folder.h"
#include "worker/runner.h"

namespace quern {

class ModelStack {
 public:
  /// `folder` must outlive it.
  ModelStack(const ModelFolder& folder, Device device, std::unique_ptr<LocalRunner> runner,
             const SchedulerConfig& scheduler_config)
      : folder_(folder), device_(std::move(device)), runner_(std::move(runner)), scheduler_config_(scheduler_config) {}

  const ModelFolder& folder() const { return folder_; }
  LocalRunner& runner() { return *runner_; }
  /// Limits that the runner's memory was made for; the queue's limits may be changed.
  const SchedulerConfig& scheduler_config() const { return scheduler_config_; }
  const Device& device() const { return device_; }
  std::string_view dtype_name() const { return quern::dtype_name(runner_->dtype()); }
  /// For an Engine, which must not outlive this.
  MakeReplica replica();

 private:
  const ModelFolder& folder_;
  Device device_;
  std::unique_ptr<LocalRunner> runner_;
  SchedulerConfig scheduler_config_;
};

/// The default model's folder (quern-mini), looked for beside the binary and in share/quern; empty when it is not
/// there.
std::string default_model_dir();

/// The folder that the flags name; default_model_dir() where they name none.
Result<ModelFolder> read_model_folder(const ModelOptions& options, bool needs_weights = true);

/// The dtype that the flags name; nothing for auto. Refuses those that contradict each other or the device.
Result<std::optional<DType>> chosen_dtype(const ModelOptions& options, const Device& device);

/// The limits that the flags ask for; the runner's memory is made for them. Refuses those that contradict each other.
Result<SchedulerConfig> make_scheduler_config(const ModelFolder& folder, const ModelOptions& options,
                                              const Device& device);

/// Asked before the weights are read; the plan's requests_bytes are 0. An Error refuses.
using ApproveMemory = std::function<Result<void>(const MemoryPlan& plan)>;

/// Adds the weights to `folder`, which must outlive the stack.
Result<std::unique_ptr<ModelStack>> load_model(const ModelFolder& folder, const ModelOptions& options,
                                               OpenDevice opened, const SchedulerConfig& scheduler,
                                               const ApproveMemory& approve);
/// For a command that computes: within the device's and the machine's memory.
Result<std::unique_ptr<ModelStack>> load_model(const ModelFolder& folder, const ModelOptions& options,
                                               OpenDevice opened, const MachineLimits& machine);
/// The same on the device that the flags name.
Result<std::unique_ptr<ModelStack>> load_model(const ModelFolder& folder, const ModelOptions& options);

/// Submits one Job of these tokens and waits for its Output.
Result<Output> embed_ids(Engine& engine, std::vector<int32_t> ids);
/// The same for a text.
Result<Output> embed_text(const ModelFolder& folder, Engine& engine, const std::string& prompt,
                          const std::string& text);

struct CheckOutcome;  // model/known_answers.h
/// Compares the model with its known answers, through the engine; skipped with --skip-check.
Result<CheckOutcome> check_model(const ModelStack& stack, Engine& engine, const ModelOptions& options);

}  // namespace quern
