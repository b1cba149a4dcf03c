// LocalRunner: a model replica in this process. Batch in, Vectors out.
//
// Owns the weights, the activations and the bytes of the K/V pages; the caller owns their meaning (which block belongs
// to whom). All memory is reserved in create(); K/V pages are touched on first use. One thread at a time calls run().
// Promises: a Output depends on its Job's tokens alone, bit for bit: not on the batch, its order, the chunks it came in
// or the number of threads.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "core/batch.h"
#include "model/config.h"
#include "model/qwen3.h"
#include "ops/ops.h"

namespace quern {

struct RunnerOptions {
  std::optional<DType> dtype;       // compute dtype; none: bf16 for bf16 weights where the CPU multiplies it, else f32
  int32_t batch_tokens_max = 2048;  // T of the largest Batch; activations are sized for it
  int32_t batch_spans_max = 2048;   // B of the largest Batch; at most batch_tokens_max matter
  int32_t kv_blocks = 512;
  int32_t block_tokens = 16;
};

struct MemoryBytes {
  size_t weights = 0;      // packed copies and norms, plus the embedding table (mapped from the file)
  size_t kv = 0;           // reserved; resident as it is used
  size_t activations = 0;  // reserved; resident as batches grow
};

class LocalRunner {
 public:
  /// Loads the model folder. `ops` brings the device and its threads.
  static Result<std::unique_ptr<LocalRunner>> create(const std::string& model_dir, const RunnerOptions& options,
                                                     std::unique_ptr<Ops> ops);
  ~LocalRunner();

  /// The Vectors of the spans with is_last, in span order. Refuses (kInvalidArgument) a batch that breaks its contract:
  /// ids outside the vocabulary, spans that do not tile the tokens, blocks out of range or too few. A Output that is
  /// not finite is kInternal.
  Result<BatchResult> run(const Batch& batch);

  const ModelConfig& config() const;
  DType dtype() const;
  const RunnerOptions& options() const { return options_; }
  MemoryBytes memory_bytes() const;

 private:
  LocalRunner() = default;
  Result<void> check(const Batch& batch) const;

  RunnerOptions options_;
  std::unique_ptr<Ops> ops_;  // outlives the model, which holds weights packed by it
  std::unique_ptr<Qwen3> model_;
};

}  // namespace quern
