// Engine: submit(Job) -> completion, over one or several replicas of the model.
//
// Owns the replicas, and every accepted Job until its completion has been called, exactly once: with an Output, or with
// an Error (deadline, cancel, failed batch). Its one thread gives events and the time to an EventLoop and calls the
// completions; it computes nothing, so a deadline is answered at its time whatever runs. What a completion throws is
// caught and counted. All calls are safe from any thread; drain() and the destructor not from a completion.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "core/embedder.h"
#include "core/replica.h"
#include "engine/event_loop.h"

namespace quern {

struct EngineStats {
  int32_t queued_jobs = 0;
  int64_t queued_tokens = 0;
  int32_t live_jobs = 0;
  int32_t blocks_used = 0;
};

/// Called on the engine's thread; either may be empty; must not block.
struct EngineHooks {
  std::function<void(const StepReport&)> on_step;         // after each Batch
  std::function<void(std::string_view what)> on_failure;  // an exception that was caught; the engine goes on
};

class Engine : public Embedder {
 public:
  /// CHECKs what check_config() would refuse, beyond the size of the queue.
  Engine(const EngineConfig& config, const std::vector<MakeReplica>& replicas, EngineHooks hooks = {});
  /// Drains: see drain().
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs) override;
  void cancel(std::span<const uint64_t> job_ids) override;
  Result<void> room(int64_t jobs, int64_t tokens) const override;

  /// The replica died: its Jobs start again on the others, or on itself after restore().
  void lose(int32_t replica);
  void restore(int32_t replica);

  /// Refuses new Jobs, finishes the accepted ones (with kUnavailable while no replica is up), stops the thread.
  /// Idempotent.
  void drain();

  EngineStats stats() const;

 private:
  void loop();
  int64_t step(Turn& turn);
  void deliver(Turn& turn);
  void complete(EndedJobs& ended);
  void failed(std::string_view what) noexcept;
  void wake();

  const EngineConfig config_;
  const EngineHooks hooks_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  EventLoop events_;      // guarded by mutex_, but for room()
  bool is_awake_ = true;  // guarded by mutex_: something has happened since the last step
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace quern
