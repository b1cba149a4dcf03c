#include "app/engine_metrics.h"

namespace quern {
namespace {

const Metrics::Buckets kSecondsBuckets = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                          0.25,   0.5,   1,      2.5,   5,    10,    30};

/// 1, 2, 4, ... up to the limit, which is a bucket of its own.
Metrics::Buckets powers_up_to(int32_t limit) {
  Metrics::Buckets buckets;
  for (int64_t edge = 1; edge < limit; edge *= 2) buckets.push_back(static_cast<double>(edge));
  buckets.push_back(limit);
  return buckets;
}

}  // namespace

EngineMetrics::EngineMetrics(Metrics& metrics, const SchedulerConfig& config, const Device& device)
    : metrics_(metrics),
      batch_tokens_(metrics.histogram("quern_batch_tokens", "Tokens computed in one step",
                                      powers_up_to(config.batch_tokens_max))),
      batch_inputs_(
          metrics.histogram("quern_batch_inputs", "Inputs aboard one step", powers_up_to(config.batch_spans_max))),
      batch_seconds_(metrics.histogram("quern_batch_seconds", "Time to compute one step", kSecondsBuckets)),
      tokens_(metrics.counter("quern_computed_tokens_total", "Tokens that went through the model")),
      failed_batches_(metrics.counter("quern_failed_batches_total", "Steps that ended in an error")) {
  metrics
      .gauge("quern_device_info", "Always 1; the labels say what computes.",
             {{"device", device.name}, {"model", device.model}})
      .Set(1);
}

void EngineMetrics::count(const StepReport& report) {
  batch_tokens_.Observe(report.batch_tokens);
  batch_inputs_.Observe(report.batch_spans);
  batch_seconds_.Observe(static_cast<double>(report.compute_us) * 1e-6);
  tokens_.Increment(report.batch_tokens);
  if (!report.ok) failed_batches_.Increment();
}

void EngineMetrics::watch(const Engine& engine) {
  auto& queue_jobs = metrics_.gauge("quern_queue_jobs", "Inputs waiting for a place in a step");
  auto& queue_tokens = metrics_.gauge("quern_queue_tokens", "Tokens waiting for a place in a step");
  auto& live_jobs = metrics_.gauge("quern_live_jobs", "Inputs accepted and not answered yet");
  auto& blocks_used = metrics_.gauge("quern_kv_blocks_used", "K/V blocks in use");
  metrics_.on_scrape([&engine, &queue_jobs, &queue_tokens, &live_jobs, &blocks_used] {
    const EngineStats stats = engine.stats();
    queue_jobs.Set(stats.queued_jobs);
    queue_tokens.Set(static_cast<double>(stats.queued_tokens));
    live_jobs.Set(stats.live_jobs);
    blocks_used.Set(stats.blocks_used);
  });
}

}  // namespace quern
