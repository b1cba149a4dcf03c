#include "cli/bench_engine.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "base/clock.h"

namespace quern {
namespace {

/// Keeps a fixed number of Jobs in the engine: each one that ends is followed by the next.
class ClosedLoop {
 public:
  ClosedLoop(Engine& engine, const std::vector<std::vector<int32_t>>& inputs) : engine_(engine), inputs_(inputs) {}

  void add() {
    std::vector<Job> jobs(1);
    jobs[0].token_ids = inputs_[next_++ % inputs_.size()];
    jobs[0].completion = [this](const Result<Output>& outcome, const JobTiming&) { on_ended(outcome.ok()); };
    if (!engine_.submit(std::move(jobs)) && !stopped_) failed_ = true;
  }
  int64_t ended() const { return ended_; }
  bool failed() const { return failed_; }
  void stop() { stopped_ = true; }

 private:
  void on_ended(bool ok) {
    if (!ok) failed_ = true;
    ++ended_;
    if (!stopped_ && !failed_) add();
  }

  Engine& engine_;
  const std::vector<std::vector<int32_t>>& inputs_;
  std::atomic<size_t> next_{0};
  std::atomic<int64_t> ended_{0};
  std::atomic<bool> failed_{false};
  std::atomic<bool> stopped_{false};
};

void sleep_s(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

}  // namespace

Result<double> closed_loop_inputs_per_second(Engine& engine, const std::vector<std::vector<int32_t>>& inputs,
                                             int in_flight, double seconds) {
  QUERN_CHECK(!inputs.empty(), "a closed loop needs an input");
  ClosedLoop loop(engine, inputs);
  for (int i = 0; i < in_flight; ++i) loop.add();
  sleep_s(seconds / 4);  // until the batches have found their size
  const int64_t begin_us = now_us(), begin = loop.ended();
  sleep_s(seconds);
  const double rate = static_cast<double>(loop.ended() - begin) * 1e6 / static_cast<double>(now_us() - begin_us);
  loop.stop();
  engine.drain();  // nothing calls back into `loop` once it returns
  if (loop.failed()) return internal_error("a Job failed in the closed loop");
  return rate;
}

}  // namespace quern
