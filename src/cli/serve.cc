#include <malloc.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "app/service.h"
#include "app/stop_signals.h"
#include "cli/commands.h"
#include "cli/report.h"

namespace quern {
namespace {

/// The exit code. An error is told before the service ends, which may take a moment.
int serve(const ServeOptions& options, StopSignals& signals) {
  auto service = Service::start(options);
  if (!service) return report_error("serve", service.error(), options.model.origins);
  if (auto loaded = (*service)->load([&signals] { signals.promised(); }); !loaded)
    return report_error("serve", loaded.error(), options.model.origins);
  if (isatty(STDERR_FILENO) == 1) std::fputs((*service)->banner().c_str(), stderr);
  signals.wait();
  (*service)->stop();
  return 0;
}

/// glibc's threshold grows with the largest block that was freed; from then on such blocks lie in the heaps of
/// whichever threads served them, and stay there in part: the process would grow with each new record of what came
/// together. Fixed, what is large is mapped alone and given back when it is freed.
void give_back_large_blocks() { ::mallopt(M_MMAP_THRESHOLD, 256 * 1024); }

}  // namespace

int serve_command(const ServeOptions& options) {
  give_back_large_blocks();
  std::signal(SIGPIPE, SIG_IGN);
  StopSignals signals;  // before any other thread
  return serve(options, signals);
}

}  // namespace quern
