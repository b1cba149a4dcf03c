// ProgressBar: one line on stderr while long work runs; silent where stderr is not a terminal.
//
// Used from one thread.
#pragma once

#include <cstdint>
#include <string>

namespace quern {

class ProgressBar {
 public:
  /// `total` may be 0 when it is not known; `unit` names what is counted ("lines").
  ProgressBar(std::string label, std::string unit, int64_t total);
  ~ProgressBar() { end(); }

  /// Ends the line, once.
  void end();

  /// `extra` is shown behind the bar ("3,120 tokens/s"). Redraws at most ten times a second.
  void update(int64_t done, const std::string& extra = "");

 private:
  void draw(int64_t done, const std::string& extra);

  std::string label_, unit_;
  int64_t total_;
  bool terminal_;
  bool drawn_ = false;
  int64_t begin_us_, drawn_us_ = 0;
  int64_t first_done_ = -1;  // where this run began: a resumed run must not count old lines into its rate
};

}  // namespace quern
