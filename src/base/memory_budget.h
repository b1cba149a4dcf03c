// MemoryBudget: one limit in bytes for all that requests hold: bodies, parsed values, token ids, vectors, answers.
//
// Owns a count, not memory. Whoever is about to hold bytes for a request takes a Lease first and grows it; what the
// budget does not grant is refused by the one who asked. A Lease gives back what it holds when it dies. Any thread may
// use a budget; a Lease belongs to one thread at a time. The budget outlives its Leases.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/result.h"

namespace quern {

class MemoryBudget {
 public:
  explicit MemoryBudget(int64_t bytes_max) : bytes_max_(bytes_max) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  class Lease {
   public:
    Lease() = default;
    explicit Lease(MemoryBudget& budget) : budget_(&budget) {}
    Lease(Lease&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Lease() { resize(0); }

    /// Holds `bytes` from now on. False, and nothing changes, when that would exceed the budget; shrinking always
    /// works.
    bool resize(int64_t bytes) {
      if (budget_ == nullptr) return bytes == 0;
      if (bytes > bytes_ && !budget_->take(bytes - bytes_)) return false;
      if (bytes < bytes_) budget_->give_back(bytes_ - bytes);
      bytes_ = bytes;
      return true;
    }
    bool grow(int64_t bytes) { return resize(bytes_ + bytes); }
    /// Takes over what `other` holds, when it holds nothing or is of the same budget.
    bool absorb(Lease& other) {
      if (bytes_ > 0 && other.bytes_ > 0 && budget_ != other.budget_) return false;
      if (bytes_ == 0) std::swap(budget_, other.budget_);
      bytes_ += std::exchange(other.bytes_, 0);
      return true;
    }
    int64_t bytes() const { return bytes_; }
    MemoryBudget* budget() const { return budget_; }

   private:
    MemoryBudget* budget_ = nullptr;
    int64_t bytes_ = 0;
  };

  int64_t bytes_max() const { return bytes_max_.load(std::memory_order_relaxed); }
  /// For the one who owns it, when what others need is known. What is held beyond a lower limit stays held.
  void set_bytes_max(int64_t bytes_max) { bytes_max_.store(bytes_max, std::memory_order_relaxed); }
  int64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

 private:
  bool take(int64_t bytes) {
    int64_t used = used_bytes_.load(std::memory_order_relaxed);
    do {
      if (bytes > bytes_max() - used) return false;
    } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  void give_back(int64_t bytes) { used_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  std::atomic<int64_t> bytes_max_;
  std::atomic<int64_t> used_bytes_{0};
};

/// What a request is told for which there is no room in a budget of `bytes_max`: to try again (kOverloaded), or, when
/// it needs more than the `bytes_at_most` that a request may have, that it never will have (kPayloadTooLarge).
Error out_of_budget(int64_t bytes_max, int64_t bytes_needed, int64_t bytes_at_most);

}  // namespace quern
