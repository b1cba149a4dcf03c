// A device that dies under the model: from the Ops' exception to what clients are told.
#include <gtest/gtest.h>

#include <future>

#include "engine/engine.h"
#include "ops/test_dying_ops.h"
#include "worker/local_replica.h"
#include "worker/runner.h"

namespace quern {
namespace {

std::unique_ptr<LocalRunner> make_runner(int steps) {
  const std::string folder = QUERN_SOURCE_DIR "/tests/golden/models/odd";
  RunnerOptions options;
  options.dtype = DType::kF32;
  options.batch_tokens_max = 64;
  options.kv_blocks = 64;
  options.positions_max = 64;
  auto runner = LocalRunner::create(folder, *read_model_config(folder), options, std::make_unique<DyingOps>(steps));
  return std::move(*runner);
}

EngineConfig config_for_runner() {
  EngineConfig config;
  config.scheduler.batch_tokens_max = 64;
  config.scheduler.batch_spans_max = 8;
  config.scheduler.context_tokens_max = 64;
  config.scheduler.batches_in_flight_max = 2;
  return config;
}

/// What a Job of ten tokens ends in.
std::future<Result<Output>> submit(Engine& engine, std::vector<std::unique_ptr<std::promise<Result<Output>>>>& kept) {
  kept.push_back(std::make_unique<std::promise<Result<Output>>>());
  std::vector<Job> jobs(1);
  jobs[0].token_ids.assign(10, 3);
  jobs[0].completion = [promise = kept.back().get()](Result<Output> outcome, const JobTiming&) {
    promise->set_value(std::move(outcome));
  };
  auto future = kept.back()->get_future();
  if (auto taken = engine.submit(std::move(jobs)); !taken) kept.back()->set_value(taken.error());
  return future;
}

TEST(LostDeviceTest, TheJobsAboardFailAndLaterOnesAreRefusedAtOnce) {
  std::vector<std::unique_ptr<std::promise<Result<Output>>>> kept;
  const auto runner = make_runner(1);
  int lost = 0;
  Engine engine(config_for_runner(), {local_replica(*runner, 2)},
                {[&lost](const StepReport& report) { lost += report.is_lost; }, {}});
  EXPECT_TRUE(submit(engine, kept).get().ok());
  EXPECT_TRUE(engine.room(0, 0).ok());
  const auto aboard = submit(engine, kept).get();
  ASSERT_FALSE(aboard.ok());
  EXPECT_EQ(aboard.error().code, ErrorCode::kInternal);
  EXPECT_NE(aboard.error().message.find("illegal memory access"), std::string::npos);
  for (int i = 0; i < 3; ++i) {
    const auto later = submit(engine, kept).get();
    ASSERT_FALSE(later.ok());
    EXPECT_EQ(later.error().code, ErrorCode::kUnavailable);
  }
  EXPECT_EQ(engine.room(0, 0).error().code, ErrorCode::kUnavailable);
  engine.drain();
  EXPECT_EQ(lost, 1);
}

TEST(LostDeviceTest, WhatWasAboardNothingThereIsComputedByTheOthers) {
  std::vector<std::unique_ptr<std::promise<Result<Output>>>> kept;
  const auto dies = make_runner(0), lives = make_runner(1 << 20);
  Engine engine(config_for_runner(), {local_replica(*dies, 2), local_replica(*lives, 2)});
  int failed = 0;
  std::vector<std::future<Result<Output>>> ends;
  for (int i = 0; i < 100; ++i) ends.push_back(submit(engine, kept));
  for (auto& end : ends) failed += !end.get().ok();
  EXPECT_LE(failed, 8) << "at most one batch is aboard when the device dies";
  EXPECT_TRUE(engine.room(0, 0).ok());
}

}  // namespace
}  // namespace quern
