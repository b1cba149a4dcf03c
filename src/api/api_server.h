// ApiServer: finds a request's row in the table of routes; answers the small ones itself and starts a Call for those
// that a Codec reads.
//
// Owns the worker pool and the API's metrics. handle() is called on io threads. Must outlive the HttpServer that calls
// it and the embedders' last completion; the budget and the metrics outlive it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/api_config.h"
#include "api/api_metrics.h"
#include "api/call.h"
#include "api/route.h"
#include "api/task_pool.h"
#include "base/memory_budget.h"
#include "http/http_config.h"
#include "http/responder.h"
#include "observe/metrics.h"

namespace quern {

class ApiServer {
 public:
  /// `ready` is what /ready says: success when requests should be sent, otherwise why not; any thread.
  ApiServer(ApiConfig config, std::vector<ServedModel> models, std::function<Result<void>()> ready,
            MemoryBudget& budget, Metrics& metrics);

  void handle(HttpRequest request, Responder responder);
  /// For HttpServerConfig::error_response: what the transport refuses, in the API's shape, counted and logged.
  HttpResponse transport_error(int status, std::string_view message, std::string_view client_address);
  /// Shows the transport's counters in /metrics.
  void watch(const HttpCounters& counters) { api_metrics_.watch(counters); }
  /// Requests for embeddings that have not been answered or given up.
  int64_t calls_live() const { return api_metrics_.calls_live(); }

 private:
  /// A request's path among the rows: the row of its method, if any, and the methods that its path takes.
  struct Match {
    const Route* route = nullptr;
    const Route* of_path = nullptr;
    std::string_view variable;
    std::string allow;
  };

  Match match(const HttpRequest& request) const;
  void answer(HttpResponse response, RequestRecord& record, Responder& responder);
  HttpResponse refuse(const Error& error, RequestRecord& record) const;
  HttpResponse answer_options(const HttpRequest& request, const RequestRecord& record, const std::string& allow) const;

  const ApiConfig config_;
  const Models models_;
  const std::function<Result<void>()> ready_;
  ApiMetrics api_metrics_;
  MemoryBudget control_budget_;  // for the answers that no Call makes
  const std::string openapi_;
  std::vector<std::atomic<bool>> ids_warned_;
  const RouteContext route_context_;
  CallContext call_context_;
  TaskPool pool_;  // last: its tasks use all of the above
};

}  // namespace quern
