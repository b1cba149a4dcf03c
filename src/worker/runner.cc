#include "worker/runner.h"

#include <algorithm>
#include <cmath>

#include "tensor/safetensors.h"

namespace quern {

Result<std::unique_ptr<LocalRunner>> LocalRunner::create(const std::string& model_dir, const RunnerOptions& options,
                                                         std::unique_ptr<Ops> ops) {
  QUERN_CHECK(
      options.batch_tokens_max > 0 && options.batch_spans_max > 0 && options.kv_blocks > 0 && options.block_tokens > 0,
      "runner limits must be positive");
  auto config = read_model_config(model_dir);
  if (!config) return config.error();
  auto file = Safetensors::open(model_dir);
  if (!file) return file.error();
  const DType dtype = options.dtype.value_or(stored_dtype(*file) == DType::kF32 ? DType::kF32 : ops->preferred_dtype());
  if (!ops->supports(dtype))
    return invalid_argument("dtype " + std::string(dtype_name(dtype)) + " is not implemented on this machine; use f32",
                            "--dtype");
  auto weights = load_qwen3_weights(std::move(*file), *config, *ops, dtype);
  if (!weights) return weights.error();

  auto runner = std::unique_ptr<LocalRunner>(new LocalRunner());
  runner->options_ = options;
  runner->ops_ = std::move(ops);
  const int64_t pooled_max = std::min(options.batch_spans_max, options.batch_tokens_max);
  const Qwen3::Limits limits{options.batch_tokens_max, pooled_max, options.kv_blocks, options.block_tokens};
  runner->model_ = std::make_unique<Qwen3>(*runner->ops_, std::move(*config), std::move(*weights), dtype, limits);
  return runner;
}

LocalRunner::~LocalRunner() = default;

Result<void> LocalRunner::check(const Batch& batch) const {
  const int64_t tokens = static_cast<int64_t>(batch.token_ids.size());
  const int64_t blocks = static_cast<int64_t>(batch.block_ids.size());
  if (tokens < 1 || tokens > options_.batch_tokens_max)
    return invalid_argument("batch: expected 1.." + std::to_string(options_.batch_tokens_max) + " tokens, found " +
                            std::to_string(tokens));
  if (static_cast<int64_t>(batch.spans.size()) > options_.batch_spans_max)
    return invalid_argument("batch: more than " + std::to_string(options_.batch_spans_max) + " spans");
  for (const int32_t id : batch.token_ids) {
    if (id < 0 || id >= config().vocab_size)
      return invalid_argument("batch: token id " + std::to_string(id) + " is outside the vocabulary of " +
                              std::to_string(config().vocab_size));
  }
  for (const int32_t block : batch.block_ids) {
    if (block < 0 || block >= options_.kv_blocks)
      return invalid_argument("batch: block " + std::to_string(block) + " is outside 0.." +
                              std::to_string(options_.kv_blocks - 1));
  }
  int64_t next = 0;
  for (const Span& span : batch.spans) {
    const std::string where = "batch: span of job " + std::to_string(span.job_id) + ": ";
    if (span.token_begin != next || span.token_count < 1 || span.token_count > tokens - next)
      return invalid_argument(where + "spans must tile the tokens in order");
    next += span.token_count;
    const int64_t end = int64_t{span.position_begin} + span.token_count;
    if (span.position_begin < 0 || end > config().max_position_embeddings)
      return invalid_argument(where + "positions must lie within 0.." +
                              std::to_string(config().max_position_embeddings));
    if (span.block_begin < 0 || span.block_count < 0 || int64_t{span.block_begin} + span.block_count > blocks ||
        int64_t{span.block_count} * options_.block_tokens < end)
      return invalid_argument(where + "its page table must lie within block_ids and hold every position");
  }
  if (next != tokens) return invalid_argument("batch: spans must cover every token");
  return {};
}

Result<BatchResult> LocalRunner::run(const Batch& batch) {
  if (auto checked = check(batch); !checked) return checked.error();
  std::vector<SequenceStep> steps;
  for (const Span& span : batch.spans) {
    const int32_t* blocks = batch.block_ids.data() + span.block_begin;
    steps.push_back({{span.token_begin, span.token_count, span.position_begin, blocks}, span.is_last});
  }
  const Matrix vectors = model_->forward(batch.token_ids, steps);

  BatchResult result;
  result.batch_id = batch.id;
  for (int64_t b = 0; b < vectors.rows; ++b) {
    const float* row = vectors.f32() + b * vectors.cols;
    if (!is_unit({row, static_cast<size_t>(vectors.cols)}))
      return internal_error("the model produced a vector that is not finite or not of norm 1");
    result.vectors.push_back({{row, row + vectors.cols}});
  }
  return result;
}

const ModelConfig& LocalRunner::config() const { return model_->config(); }
DType LocalRunner::dtype() const { return model_->dtype(); }
MemoryBytes LocalRunner::memory_bytes() const {
  return {model_->weight_bytes(), model_->kv_bytes(), model_->activation_bytes()};
}

}  // namespace quern
