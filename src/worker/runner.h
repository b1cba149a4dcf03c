// LocalRunner: a model replica in this process. Batch in, Outputs out.
//
// Owns the weights, the activations and the bytes of the K/V pages; the caller owns their meaning (which block belongs
// to whom). The model's memory is reserved in create(), on the host resident from its first use on; a batch adds the
// outputs, its Step and, on first use, scratch. One thread at a time.
// Promises: an Output depends on its Job's tokens alone (on the CPU bit for bit): not on the batch, its order, the
// chunks it came in or the number of threads. No exception leaves a call: one of memory, library or device is a
// kInternal Error for the batch it hit, and the next batch is computed as if nothing had been, unless is_lost().
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "core/batch.h"
#include "model/config.h"
#include "model/memory_bytes.h"
#include "model/qwen3.h"
#include "ops/ops.h"

namespace quern {

struct RunnerOptions {
  std::optional<DType> dtype;       // compute dtype; none: bf16 for bf16 weights where the CPU multiplies it, else f32
  int32_t batch_tokens_max = 2048;  // T of the largest Batch; activations are sized for it
  int32_t batch_spans_max = 2048;   // B of the largest Batch; at most batch_tokens_max matter
  int32_t positions_max = 0;        // of a sequence; 0: the model's own limit
  int32_t kv_blocks = 512;
  int32_t block_tokens = 16;
  /// Asked before the weights are read, with what they and the rest will take; an Error refuses. Empty: not asked.
  std::function<Result<void>(const MemoryBytes&)> approve;
};

class LocalRunner {
 public:
  /// Loads the weights in `model_dir`, whose config.json says `config`. `ops` brings the device and its threads.
  static Result<std::unique_ptr<LocalRunner>> create(const std::string& model_dir, const ModelConfig& config,
                                                     const RunnerOptions& options, std::unique_ptr<Ops> ops);
  ~LocalRunner();

  /// How many batches may have been started and not finished: the next one is enqueued while a device computes.
  static constexpr size_t kInFlightMax = 2;

  /// Checks the batch and enqueues it. Refuses (kInvalidArgument) a batch that breaks its contract: ids outside the
  /// vocabulary, spans that do not tile the tokens, blocks out of range or too few. After an Error it is not in flight.
  Result<void> start(const Batch& batch);
  /// Waits for the oldest one in flight: the Outputs of its spans with is_last, in span order. An Output that is not
  /// finite is kInternal. Ended or failed, the batch is no longer in flight.
  Result<BatchResult> finish();
  /// Whether finish() would not wait.
  bool is_done() const { return in_flight_.empty() || ops_->is_done(*in_flight_.front().vectors); }
  /// Whether the device is gone: every later batch ends in an Error.
  bool is_lost() const { return is_lost_; }
  /// start() and finish(), with none in flight.
  Result<BatchResult> run(const Batch& batch);

  const ModelConfig& config() const;
  DType dtype() const;
  const RunnerOptions& options() const { return options_; }
  MemoryBytes memory_bytes() const;

 private:
  struct InFlight {
    uint64_t batch_id = 0;
    size_t outputs = 0;
    std::unique_ptr<Readback> vectors;
  };

  LocalRunner() = default;
  static Result<std::unique_ptr<LocalRunner>> load(const std::string& model_dir, const ModelConfig& config,
                                                   const RunnerOptions& options, std::unique_ptr<Ops> ops);
  template <typename Work>
  auto guarded(const Work& work) -> decltype(work());
  Result<void> check(const Batch& batch) const;
  Result<BatchResult> collect(InFlight oldest);

  RunnerOptions options_;
  std::unique_ptr<Ops> ops_;  // outlives all that it gave out
  std::unique_ptr<Qwen3> model_;
  Step step_;                       // of the batch that is being started
  std::deque<InFlight> in_flight_;  // the oldest first
  bool is_lost_ = false;
};

}  // namespace quern
