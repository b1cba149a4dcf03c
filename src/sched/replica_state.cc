#include "sched/replica_state.h"

#include "base/check.h"
#include "sched/mutant.h"

namespace quern {

ReplicaState::ReplicaState(const SchedulerConfig& config) : config_(config), pool_(config.total_blocks()) {}

ReplicaState::Share ReplicaState::share_for(const Entry& entry, bool is_first, int32_t spare_planned) const {
  const int32_t count = blocks_needed(entry);
  const int32_t spare = spare_used_ + spare_planned + count;
  if constexpr (kMutant == Mutant::kNoSetAside) {
    if (main_used_ + spare > config_.long_blocks()) return Share::kNone;
    return is_first && main_used_ + count <= config_.main_blocks() ? Share::kMain : Share::kSpare;
  }
  if (is_first && main_used_ + count <= config_.main_blocks()) return Share::kMain;
  return spare <= config_.spare_blocks() ? Share::kSpare : Share::kNone;
}

void ReplicaState::start(Entry& entry, Share share) noexcept {
  const int32_t count = blocks_needed(entry);
  entry.in_spare = share == Share::kSpare;
  if (!entry.is_short) (entry.in_spare ? spare_used_ : main_used_) += count;
  QUERN_CHECK(pool_.allocate(count, entry.blocks), "the shares of the block pool are larger than the pool");
}

void ReplicaState::hold(Entry& entry) noexcept {
  if (!entry.is_short) return started_.add(entry);
  QUERN_CHECK(cut_ == nullptr, "two short Jobs were cut");
  cut_ = &entry;
}

void ReplicaState::let_go(Entry& entry) noexcept {
  if (!entry.is_short) return started_.take(entry);
  QUERN_CHECK(cut_ == &entry, "a short Job was not where it should be");
  cut_ = nullptr;
}

void ReplicaState::release(Entry& entry) noexcept {
  if (!entry.is_short) (entry.in_spare ? spare_used_ : main_used_) -= static_cast<int32_t>(entry.blocks.size());
  pool_.release(entry.blocks);
  entry.blocks.clear();
}

}  // namespace quern
