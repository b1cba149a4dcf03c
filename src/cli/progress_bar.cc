#include "cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.h"

namespace quern {
namespace {

constexpr int kBarWidth = 30;
constexpr int64_t kRedrawUs = 100'000;

std::string format_duration(double seconds) {
  char text[32];
  const auto s = static_cast<int64_t>(seconds);
  std::snprintf(text, sizeof text, "%d:%02d:%02d", static_cast<int>(s / 3600), static_cast<int>(s / 60 % 60),
                static_cast<int>(s % 60));
  return text;
}

}  // namespace

ProgressBar::ProgressBar(std::string label, std::string unit, int64_t total)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) == 1),
      begin_us_(now_us()) {}

void ProgressBar::end() {
  if (drawn_) std::fputc('\n', stderr);
  drawn_ = false;
}

void ProgressBar::update(int64_t done, const std::string& extra) {
  if (first_done_ < 0) first_done_ = done;
  const int64_t now = now_us();
  if (!terminal_ || (now - drawn_us_ < kRedrawUs && done != total_)) return;
  drawn_us_ = now;
  draw(done, extra);
}

void ProgressBar::draw(int64_t done, const std::string& extra) {
  const double elapsed_s = static_cast<double>(now_us() - begin_us_) * 1e-6;
  const double rate = static_cast<double>(done - first_done_) / std::max(elapsed_s, 1e-3);
  std::string bar;
  if (total_ > 0) {
    const auto filled = static_cast<size_t>(kBarWidth * std::min(done, total_) / total_);
    // Before the first rate nobody knows how long it takes.
    const std::string left = rate > 0 ? format_duration(static_cast<double>(total_ - done) / rate) + " left, " : "";
    bar = "[" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "] " +
          std::to_string(100 * done / total_) + "% " + left;
  }
  std::fprintf(stderr, "\r\033[K%s %s%lld %s, %.1f %s/s%s%s", label_.c_str(), bar.c_str(), static_cast<long long>(done),
               unit_.c_str(), rate, unit_.c_str(), extra.empty() ? "" : ", ", extra.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace quern
