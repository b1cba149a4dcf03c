// LateEmbedder: stands where the engine will be, while the weights load.
//
// Owns nothing. Until set() it refuses with kUnavailable. Any thread; set() once.
#pragma once

#include <atomic>
#include <utility>
#include <vector>

#include "core/embedder.h"

namespace quern {

class LateEmbedder : public Embedder {
 public:
  /// `embedder` must outlive every call from here on.
  void set(Embedder& embedder) { embedder_.store(&embedder, std::memory_order_release); }

  /// Success once set() was called.
  Result<void> loaded() const {
    if (get() != nullptr) return {};
    return Error{ErrorCode::kUnavailable, "the model is loading", "", 1};
  }

  Result<std::vector<uint64_t>> submit(std::vector<Job> jobs) override {
    if (const auto there = loaded(); !there) return there.error();
    return get()->submit(std::move(jobs));
  }
  void cancel(std::span<const uint64_t> job_ids) override {
    if (Embedder* embedder = get()) embedder->cancel(job_ids);
  }
  Result<void> room(int64_t jobs, int64_t tokens) const override {
    const Embedder* embedder = get();
    return embedder == nullptr ? loaded() : embedder->room(jobs, tokens);
  }

 private:
  Embedder* get() const { return embedder_.load(std::memory_order_acquire); }
  std::atomic<Embedder*> embedder_{nullptr};
};

}  // namespace quern
