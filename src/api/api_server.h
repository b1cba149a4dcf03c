// ApiServer: routes requests; answers the small ones itself and starts an EmbedCall for embeddings.
//
// Owns the worker pool and the API's metrics. handle() is called on io threads. Must outlive the HttpServer that calls
// it and the engine's last completion.
#pragma once

#include <memory>
#include <string>

#include "api/api_config.h"
#include "api/api_metrics.h"
#include "api/embed_call.h"
#include "api/task_pool.h"
#include "http/http_config.h"
#include "http/responder.h"
#include "observe/metrics.h"

namespace quern {

class ApiServer {
 public:
  ApiServer(ApiConfig config, TextEncoder encode, EngineApi engine, Metrics& metrics);

  void handle(HttpRequest request, Responder responder);
  /// For HttpServerConfig::error_response: what the transport refuses, in the API's shape, counted and logged.
  HttpResponse transport_error(int status, std::string_view message);
  /// Shows the transport's counters in /metrics.
  void watch(const HttpCounters& counters) { api_metrics_.watch(counters); }

 private:
  HttpResponse answer(const HttpRequest& request, RequestRecord& record);
  HttpResponse answer_options(const HttpRequest& request, std::string_view allow) const;
  HttpResponse models() const;
  HttpResponse model(std::string_view id, RequestRecord& record) const;
  HttpResponse ready(RequestRecord& record) const;
  HttpResponse info() const;
  void add_cors(HttpResponse& response) const;

  const ApiConfig config_;
  const TextEncoder encode_;
  const EngineApi engine_;
  Metrics& metrics_;
  ApiMetrics api_metrics_;
  const std::string openapi_;
  TaskPool pool_;  // last: its tasks use all of the above
  EmbedContext context_;
};

}  // namespace quern
