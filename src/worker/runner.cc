#include "worker/runner.h"

#include "model/folder_files.h"
#include "tensor/safetensors.h"
#include "worker/without_exceptions.h"

namespace quern {

Result<std::unique_ptr<LocalRunner>> LocalRunner::create(const std::string& model_dir, const ModelConfig& config,
                                                         const RunnerOptions& options, std::unique_ptr<Ops> ops) {
  QUERN_CHECK(options.batch_tokens_max > 0 && options.batch_spans_max > 0 && options.positions_max >= 0 &&
                  options.kv_blocks > 0 && options.block_tokens > 0,
              "runner limits must be positive");
  auto made = without_exceptions([&] { return load(model_dir, config, options, std::move(ops)); });
  if (made || made.error().code != ErrorCode::kInternal) return made;
  return internal_error(model_dir + ": cannot load the model: " + made.error().message);
}

Result<std::unique_ptr<LocalRunner>> LocalRunner::load(const std::string& model_dir, const ModelConfig& config,
                                                       const RunnerOptions& options, std::unique_ptr<Ops> ops) {
  const auto files = weight_files(model_dir);
  if (!files) return files.error();
  auto file = Safetensors::open(model_dir, *files);
  if (!file) return file.error();

  auto runner = std::unique_ptr<LocalRunner>(new LocalRunner());
  runner->options_ = options;
  if (options.positions_max == 0) runner->options_.positions_max = static_cast<int32_t>(config.max_position_embeddings);
  runner->ops_ = std::move(ops);
  const Qwen3::Limits limits{options.batch_tokens_max, options.batch_spans_max, runner->options_.positions_max,
                             options.kv_blocks, options.block_tokens};
  const Precision precision =
      options.dtype ? Precision::of(*options.dtype) : runner->ops_->preferred(stored_dtype(*file));
  // Before prepare(), which may take memory of a device.
  if (options.approve) {
    const MemoryBytes bytes = planned_memory(*runner->ops_, config, precision, limits, table_dtype(*file));
    if (auto approved = options.approve(bytes); !approved) return approved.error();
  }
  if (auto prepared = runner->ops_->prepare(Qwen3::shape(config, limits), precision); !prepared) {
    Error error = prepared.error();
    if (error.param.empty()) error.message = model_dir + "/config.json: " + error.message;
    return error;
  }
  auto weights = load_qwen3_weights(*file, config, *runner->ops_, precision.weights);
  if (!weights) return weights.error();
  runner->model_ = std::make_unique<Qwen3>(*runner->ops_, config, std::move(*weights), precision, limits);
  return runner;
}

LocalRunner::~LocalRunner() = default;

/// A batch's failure may be the device's end.
template <typename Work>
auto LocalRunner::guarded(const Work& work) -> decltype(work()) {
  auto result = without_exceptions(work);
  if (!result && result.error().code == ErrorCode::kInternal) is_lost_ = is_lost_ || ops_->is_lost();
  return result;
}

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
  const auto bad_span = [](const Span& span, const std::string& what) {
    return invalid_argument("batch: span of job " + std::to_string(span.job_id) + ": " + what);
  };
  int64_t next = 0;
  for (const Span& span : batch.spans) {
    if (span.token_begin != next || span.token_count < 1 || span.token_count > tokens - next)
      return bad_span(span, "spans must tile the tokens in order");
    next += span.token_count;
    const int64_t end = int64_t{span.position_begin} + span.token_count;
    if (span.position_begin < 0 || end > options_.positions_max)
      return bad_span(span, "positions must lie within 0.." + std::to_string(options_.positions_max));
    if (span.block_begin < 0 || span.block_count < 0 || int64_t{span.block_begin} + span.block_count > blocks ||
        int64_t{span.block_count} * options_.block_tokens < end)
      return bad_span(span, "its page table must lie within block_ids and hold every position");
  }
  if (next != tokens) return invalid_argument("batch: spans must cover every token");
  return {};
}

Result<void> LocalRunner::start(const Batch& batch) {
  QUERN_CHECK(in_flight_.size() < kInFlightMax, "more batches in flight than a runner takes");
  return guarded([&]() -> Result<void> {
    if (auto checked = check(batch); !checked) return checked;
    step_.clear();
    const std::span<const int32_t> tokens = batch.token_ids;
    const std::span<const int32_t> blocks = batch.block_ids;
    for (const Span& span : batch.spans) {
      step_.add(tokens.subspan(span.token_begin, span.token_count), span.position_begin,
                blocks.subspan(span.block_begin, span.block_count), span.is_last);
    }
    InFlight started{batch.id, static_cast<size_t>(step_.last.count()), nullptr};
    started.vectors = ops_->start_read(model_->forward(step_));
    in_flight_.push_back(std::move(started));
    return {};
  });
}

Result<BatchResult> LocalRunner::finish() {
  QUERN_CHECK(!in_flight_.empty(), "no batch in flight");
  InFlight oldest = std::move(in_flight_.front());
  in_flight_.pop_front();
  return guarded([&] { return collect(std::move(oldest)); });
}

Result<BatchResult> LocalRunner::collect(InFlight oldest) {
  const size_t width = static_cast<size_t>(config().hidden_size);
  std::vector<float> values(oldest.outputs * width);
  ops_->read(*oldest.vectors, values);
  BatchResult result;
  result.batch_id = oldest.batch_id;
  for (size_t b = 0; b < oldest.outputs; ++b) {
    const std::span<const float> row(values.data() + b * width, width);
    if (!is_unit(row)) return internal_error("the model produced a vector that is not finite or not of norm 1");
    result.vectors.push_back({{row.begin(), row.end()}});
  }
  return result;
}

Result<BatchResult> LocalRunner::run(const Batch& batch) {
  QUERN_CHECK(in_flight_.empty(), "run() beside batches in flight");
  if (auto started = start(batch); !started) return started.error();
  return finish();
}

const ModelConfig& LocalRunner::config() const { return model_->config(); }
DType LocalRunner::dtype() const { return model_->precision().weights; }
MemoryBytes LocalRunner::memory_bytes() const {
  return {model_->weight_bytes(), model_->kv_bytes(), model_->activation_bytes(),
          ops_->scratch_bytes(Qwen3::shape(config(), model_->limits()), model_->precision())};
}

}  // namespace quern
