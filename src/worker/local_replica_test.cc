#include "worker/local_replica.h"

#include <gtest/gtest.h>

#include <deque>
#include <future>
#include <stdexcept>

#include "base/clock.h"

namespace quern {
namespace {

Batch batch_of(uint64_t id) {
  Batch batch;
  batch.id = id;
  return batch;
}

/// The ends of Batches, in the order in which they came.
struct Ends {
  std::mutex mutex;
  std::condition_variable came;
  std::vector<BatchEnd> ends;

  Replica::OnEnd on_end() {
    return [this](BatchEnd end) {
      std::lock_guard lock(mutex);
      ends.push_back(std::move(end));
      came.notify_all();
    };
  }
  void wait_for(size_t count) {
    std::unique_lock lock(mutex);
    came.wait(lock, [&] { return ends.size() >= count; });
  }
};

TEST(LocalReplicaTest, AnswersInOrder) {
  Ends ends;
  const auto run = [](const Batch& batch) -> Result<BatchResult> { return BatchResult{batch.id, {{{1.0f}}}}; };
  const auto replica = local_replica(run, 2)(ends.on_end());
  for (uint64_t id = 1; id <= 100; id += 2) {
    replica->start(batch_of(id));
    replica->start(batch_of(id + 1));
    ends.wait_for(id + 1);
  }
  for (uint64_t id = 1; id <= 100; ++id) {
    EXPECT_EQ(ends.ends[id - 1].batch_id, id);
    EXPECT_EQ(ends.ends[id - 1].result.value().batch_id, id);
  }
}

TEST(LocalReplicaTest, WhatTheModelThrowsIsThatBatchsErrorAndTheNextOneWorks) {
  Ends ends;
  const auto run = [](const Batch& batch) -> Result<BatchResult> {
    if (batch.id == 1) throw std::runtime_error("could not create a primitive");
    if (batch.id == 2) throw std::bad_alloc();
    if (batch.id == 3) throw 3;  // NOLINT: whatever a library throws
    return BatchResult{batch.id, {}};
  };
  const auto replica = local_replica(run)(ends.on_end());
  for (uint64_t id = 1; id <= 4; ++id) {
    replica->start(batch_of(id));
    ends.wait_for(id);
  }
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_FALSE(ends.ends[i].result.ok());
    EXPECT_EQ(ends.ends[i].result.error().code, ErrorCode::kInternal);
  }
  EXPECT_NE(ends.ends[0].result.error().message.find("could not create a primitive"), std::string::npos);
  EXPECT_TRUE(ends.ends[3].result.ok());
}

TEST(LocalReplicaTest, StartReturnsWhileTheModelComputes) {
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  Ends ends;
  const auto run = [opened](const Batch& batch) -> Result<BatchResult> {
    opened.wait();
    return BatchResult{batch.id, {}};
  };
  const auto replica = local_replica(run, 2)(ends.on_end());
  replica->start(batch_of(1));
  replica->start(batch_of(2));  // returns: else the gate would never open
  gate.set_value();
  ends.wait_for(2);
}

/// A device with a queue: nothing is done until finish() has waited once.
struct Queue {
  std::mutex mutex;
  std::deque<uint64_t> queued;
  int started = 0;
  std::vector<size_t> queued_at_finish;
  int64_t finish_us = 0;  // how long the device takes for each

  LocalReplica::Model model() {
    return {[this](const Batch& batch) -> Result<void> {
              std::lock_guard lock(mutex);
              if (batch.id == 99) return internal_error("refused");
              queued.push_back(batch.id);
              ++started;
              return {};
            },
            [this]() -> Result<BatchResult> {
              std::lock_guard lock(mutex);
              queued_at_finish.push_back(queued.size());
              for (const int64_t end_us = now_us() + finish_us; now_us() < end_us;) {
              }
              const BatchResult result{queued.front(), {}};
              queued.pop_front();
              return result;
            },
            [this] {
              std::lock_guard lock(mutex);
              return !queued_at_finish.empty();
            },
            [] { return true; }};
  }
};

TEST(LocalReplicaTest, TheNextBatchIsStartedWhileTheDeviceComputes) {
  Ends ends;
  Queue queue;
  LocalReplica replica(queue.model(), 2, ends.on_end());
  replica.start(batch_of(1));
  while (true) {  // it does not wait in finish(), where it could start nothing
    std::lock_guard lock(queue.mutex);
    if (queue.started == 1) break;
  }
  replica.start(batch_of(2));
  ends.wait_for(2);
  ASSERT_EQ(queue.queued_at_finish.size(), 2u);
  EXPECT_EQ(queue.queued_at_finish[0], 2u);
  EXPECT_EQ(ends.ends[0].batch_id, 1u);
  EXPECT_EQ(ends.ends[1].batch_id, 2u);
}

TEST(LocalReplicaTest, TheTimeOfOverlappingBatchesIsCountedOnce) {
  Ends ends;
  Queue queue;
  queue.finish_us = 5'000;
  const int64_t begin_us = now_us();
  LocalReplica replica(queue.model(), 2, ends.on_end());
  for (uint64_t id : {1, 2}) replica.start(batch_of(id));
  ends.wait_for(2);
  EXPECT_EQ(queue.queued_at_finish[0], 2u);
  for (const BatchEnd& end : ends.ends) EXPECT_GE(end.compute_us, queue.finish_us);
  EXPECT_LE(ends.ends[0].compute_us + ends.ends[1].compute_us, now_us() - begin_us);
}

TEST(LocalReplicaTest, ABatchThatCannotBeStartedEndsInItsTurnAndTheModelIsAskedWhetherItIsLost) {
  Ends ends;
  Queue queue;
  LocalReplica replica(queue.model(), 2, ends.on_end());
  replica.start(batch_of(1));
  replica.start(batch_of(99));
  ends.wait_for(2);
  EXPECT_EQ(ends.ends[0].batch_id, 1u);
  EXPECT_FALSE(ends.ends[0].is_lost);
  EXPECT_EQ(ends.ends[1].result.error().message, "refused");
  EXPECT_TRUE(ends.ends[1].is_lost);
}

}  // namespace
}  // namespace quern
