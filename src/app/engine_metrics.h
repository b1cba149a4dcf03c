// EngineMetrics: the families of the scheduler and the model.
//
// count() is called on the engine's thread; the gauges are read at each scrape.
#pragma once

#include "app/device.h"
#include "engine/engine.h"
#include "observe/metrics.h"

namespace quern {

class EngineMetrics {
 public:
  EngineMetrics(Metrics& metrics, const SchedulerConfig& config, const Device& device);

  void count(const StepReport& report);
  /// Shows the queue and the block pool. The engine must outlive the last scrape.
  void watch(const Engine& engine);

 private:
  Metrics& metrics_;
  prometheus::Histogram& batch_tokens_;
  prometheus::Histogram& batch_inputs_;
  prometheus::Histogram& batch_seconds_;
  prometheus::Counter& tokens_;
  prometheus::Counter& failed_batches_;
};

}  // namespace quern
