// LocalReplica: a replica in this process: one thread around the local model.
//
// Owns its thread and the Batches that wait for it. Starts them in order and ends them in order; where the model only
// enqueues, the next one is started while the device computes. An exception becomes the Batch's Error, and the next
// Batch is run. The destructor ends after the call under way; Batches that have not ended are dropped.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"
#include "core/replica.h"

namespace quern {

class LocalRunner;

class LocalReplica : public Replica {
 public:
  /// The model, as LocalRunner has it; called on the replica's thread only. is_done() and is_lost() must not throw.
  struct Model {
    std::function<Result<void>(const Batch&)> start;
    std::function<Result<BatchResult>()> finish;  // of the oldest one started
    std::function<bool()> is_done;                // whether finish() would not wait
    std::function<bool()> is_lost;                // after an Error
  };

  /// `batches_max`: in flight at once.
  LocalReplica(Model model, int32_t batches_max, OnEnd on_end);
  ~LocalReplica() override;
  LocalReplica(const LocalReplica&) = delete;
  LocalReplica& operator=(const LocalReplica&) = delete;

  void start(Batch batch) noexcept override;

 private:
  struct Begun {
    uint64_t batch_id = 0;
    int64_t begin_us = 0;
    Result<void> started;
  };

  void loop();
  bool is_oldest_done() const { return !begun_.front().started || model_.is_done(); }
  void begin(const Batch& batch) noexcept;
  BatchEnd end_oldest() noexcept;

  const Model model_;
  const size_t batches_max_;
  const OnEnd on_end_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Batch> waiting_;  // guarded by mutex_; reserved for batches_max
  bool stopping_ = false;       // guarded by mutex_
  std::vector<Begun> begun_;    // the oldest first; reserved for batches_max; of the thread alone
  int64_t last_end_us_ = 0;
  std::thread thread_;
};

/// For Engine's constructor: around a function that computes a Batch at once. `run` must outlive the engine in what it
/// refers to.
using RunBatch = std::function<Result<BatchResult>(const Batch&)>;
MakeReplica local_replica(RunBatch run, int32_t batches_max = 1);
/// Around a runner, which must outlive the engine; batches_max is at most LocalRunner::kInFlightMax.
MakeReplica local_replica(LocalRunner& runner, int32_t batches_max);

}  // namespace quern
