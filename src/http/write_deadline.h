// WriteDeadline: until when a client may leave its answers untaken. Plain numbers; time is an argument.
//
// What the client takes moves it on by the time that so many bytes need at the least rate, and never beyond one timeout
// from now: who has taken much has not bought the right to take little afterwards.
#pragma once

#include <algorithm>
#include <cstdint>

namespace quern {

class WriteDeadline {
 public:
  WriteDeadline(int64_t timeout_us, int64_t bytes_per_s_min)
      : timeout_us_(timeout_us), bytes_per_s_min_(std::max<int64_t>(1, bytes_per_s_min)) {}

  void start(int64_t now_us) { at_us_ = now_us + timeout_us_; }
  void took(int64_t bytes, int64_t now_us) {
    at_us_ = std::min(at_us_ + bytes * 1'000'000 / bytes_per_s_min_, now_us + timeout_us_);
  }
  bool is_over(int64_t now_us) const { return now_us > at_us_; }

 private:
  int64_t timeout_us_;
  int64_t bytes_per_s_min_;
  int64_t at_us_ = 0;
};

}  // namespace quern
