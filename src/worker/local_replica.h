// LocalReplica: a replica in this process: one thread around a blocking function.
//
// Owns its thread and the Batches that wait for it. Runs them one at a time, in order. An exception becomes the Batch's
// Error, and the next Batch is run. The destructor ends after the Batch under way; those behind it are dropped.
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

class LocalReplica : public Replica {
 public:
  /// Computes a Batch; called on the replica's thread only.
  using Run = std::function<Result<BatchResult>(const Batch&)>;

  /// `batches_max`: in flight at once, the one under way included.
  LocalReplica(Run run, int32_t batches_max, OnEnd on_end);
  ~LocalReplica() override;
  LocalReplica(const LocalReplica&) = delete;
  LocalReplica& operator=(const LocalReplica&) = delete;

  void start(Batch batch) noexcept override;

 private:
  void loop();
  BatchEnd compute(const Batch& batch) const noexcept;

  const Run run_;
  const OnEnd on_end_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Batch> waiting_;  // guarded by mutex_; reserved for batches_max
  bool stopping_ = false;       // guarded by mutex_
  std::thread thread_;
};

/// For Engine's constructor. `run` must outlive the engine in what it refers to.
MakeReplica local_replica(LocalReplica::Run run, int32_t batches_max = 1);

}  // namespace quern
