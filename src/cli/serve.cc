#include <csignal>

#include "app/service.h"
#include "app/stop_signals.h"
#include "cli/commands.h"
#include "cli/report.h"

namespace quern {
namespace {

Result<void> serve(const ServeOptions& options, StopSignals& signals) {
  auto service = Service::start(options);
  if (!service) return service.error();
  if (auto loaded = (*service)->load([&signals] { signals.promised(); }); !loaded) return loaded;
  signals.wait();
  (*service)->stop();
  return {};
}

}  // namespace

int serve_command(const ServeOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  StopSignals signals;  // before any other thread
  const auto served = serve(options, signals);
  return served ? 0 : report_error("serve", served.error());
}

}  // namespace quern
