// For tests: the naive Ops on a device that dies: from a given step on every call to compute throws, for ever.
#pragma once

#include <stdexcept>

#include "ops/naive.h"
#include "ops/test_forwarding_ops.h"

namespace quern {

class DyingOps : public ForwardingOps {
 public:
  explicit DyingOps(int steps) : ForwardingOps(make_naive_ops()), steps_left_(steps) {}

  std::string_view name() const override { return "dying"; }
  void run(const Step& step, bool repeats, const std::function<void()>& body) override {
    if (steps_left_-- <= 0) throw std::runtime_error("an illegal memory access was encountered");
    ForwardingOps::run(step, repeats, body);
  }
  bool is_lost() const override { return steps_left_ < 0; }

 private:
  int steps_left_;
};

}  // namespace quern
