#include "worker/local_replica.h"

#include <gtest/gtest.h>

#include <future>
#include <stdexcept>

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

}  // namespace
}  // namespace quern
