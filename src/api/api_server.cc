#include "api/api_server.h"

#include <algorithm>

#include "api/auth.h"
#include "api/cors.h"
#include "api/errors.h"
#include "api/openapi.h"
#include "api/routes/routes.h"
#include "base/clock.h"
#include "base/excerpt.h"

namespace quern {

namespace {

// "GET" answers HEAD too.
bool takes(const Route& route, std::string_view method) {
  return route.method == method || (route.method == "GET" && method == "HEAD");
}

}  // namespace

ApiServer::ApiServer(ApiConfig config, std::vector<ServedModel> models, std::function<Result<void>()> ready,
                     MemoryBudget& budget, Metrics& metrics)
    : config_(std::move(config)),
      models_(std::move(models)),
      ready_(std::move(ready)),
      api_metrics_(metrics, config_.version, config_.commit, budget),
      control_budget_(config_.control_bytes_max),
      openapi_(openapi_document(config_, models_)),
      ids_warned_(std::max<size_t>(1, config_.api_keys.size())),
      route_context_{config_, models_, ready_, metrics, openapi_},
      call_context_{config_, models_, budget, api_metrics_, pool_, ids_warned_},
      pool_(config_.pool_threads, config_.pool_tasks_max) {}

ApiServer::Match ApiServer::match(const HttpRequest& request) const {
  Match found;
  const std::string_view path = request.path();
  for (const Route& route : all_routes()) {
    const auto variable = match_path(route, path);
    if (!variable) continue;
    if (!found.of_path) found.of_path = &route;
    if (!found.route && takes(route, request.method())) {
      found.route = &route;
      found.variable = *variable;
    }
    found.allow.append(route.method).append(route.method == "GET" ? ", HEAD, " : ", ");
  }
  found.allow.append("OPTIONS");
  return found;
}

void ApiServer::handle(HttpRequest request, Responder responder) {
  RequestRecord record;
  const Match found = match(request);
  record.route = found.of_path ? found.of_path : &other_route();
  if (found.route) record.route = found.route;
  record.id = request_id_of(request);
  record.cors_origin = allowed_origin(config_.cors_origins, request.header("origin"));
  record.method = excerpt(request.method());
  record.path = excerpt(request.path());
  record.client_address = request.client_address;
  record.received_us = request.received_us;
  record.body_bytes = static_cast<int64_t>(request.body.size());
  if (!found.of_path) {
    return answer(
        refuse(Error{ErrorCode::kNotFound, "No such route: " + record.path + "; see /openapi.json.", "", 0}, record),
        record, responder);
  }
  if (request.method() == "OPTIONS") return answer(answer_options(request, record, found.allow), record, responder);
  if (!found.route) {
    HttpResponse response = refuse(
        Error{ErrorCode::kMethodNotAllowed,
              "Method " + record.method + " is not allowed on " + record.path + "; allowed: " + found.allow + ".", "",
              0},
        record);
    response.add_header("Allow", found.allow);
    return answer(std::move(response), record, responder);
  }
  const ApiKey* key = nullptr;
  if (found.route->access == Access::kKey) {
    const auto shown = authenticate(request, config_.api_keys);
    if (!shown) return answer(refuse(shown.error(), record), record, responder);
    key = *shown;
    if (key) record.key_name = key->name;
  }
  if (found.route->codec) {
    std::string path_model = percent_decode(found.variable);
    std::make_shared<Call>(call_context_, std::move(record), std::move(request), std::move(responder), key,
                           std::move(path_model))
        ->start();
    return;
  }
  auto made = found.route->answer(route_context_, found.variable);
  HttpResponse response = made ? std::move(*made) : refuse(made.error(), record);
  // Whoever runs the server asks most when requests have taken all the memory there is for them.
  response.lease = MemoryBudget::Lease(control_budget_);
  (void)response.lease.resize(static_cast<int64_t>(response.body.capacity()));
  answer(std::move(response), record, responder);
}

void ApiServer::answer(HttpResponse response, RequestRecord& record, Responder& responder) {
  const int64_t now = now_us();
  add_record_headers(response, record, now);
  add_cors(response, config_.cors_origins, record.cors_origin);
  api_metrics_.count(record, response.status, now);
  log_request(record, response.status, now);
  responder.send(std::move(response));
}

HttpResponse ApiServer::refuse(const Error& error, RequestRecord& record) const {
  record.error = error.code;
  record.error_message = error.message;
  return record.route->codec ? record.route->codec->error(error) : error_response(error);
}

HttpResponse ApiServer::answer_options(const HttpRequest& request, const RequestRecord& record,
                                       const std::string& allow) const {
  HttpResponse response;
  response.status = 204;
  response.add_header("Allow", allow);
  if (!record.cors_origin.empty()) add_preflight(response, request, allow);
  return response;
}

HttpResponse ApiServer::transport_error(int status, std::string_view message, std::string_view client_address) {
  RequestRecord record;
  record.route = &transport_route();
  record.client_address = client_address;
  record.received_us = now_us();
  record.error = ErrorCode::kInvalidArgument;  // told apart by its route
  record.error_message = message;
  api_metrics_.count(record, status, record.received_us);
  log_request(record, status, record.received_us);
  return transport_error_response(status, message);
}

}  // namespace quern
