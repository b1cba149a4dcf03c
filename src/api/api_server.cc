#include "api/api_server.h"

#include <algorithm>

#include "api/auth.h"
#include "api/errors.h"
#include "api/json_writer.h"
#include "api/openapi.h"
#include "base/clock.h"

namespace quern {

namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kAllowGet = "GET, HEAD, OPTIONS";
constexpr std::string_view kAllowPost = "POST, OPTIONS";

Route route_of(std::string_view path) {
  if (path == "/v1/embeddings" || path == "/embeddings") return Route::kEmbeddings;
  if (path == "/v1/models" || (path.starts_with(kModelPrefix) && path.size() > kModelPrefix.size()))
    return Route::kModels;
  if (path == "/health") return Route::kHealth;
  if (path == "/ready") return Route::kReady;
  if (path == "/info") return Route::kInfo;
  if (path == "/metrics") return Route::kMetrics;
  if (path == "/openapi.json") return Route::kOpenapi;
  return Route::kOther;
}

bool needs_key(Route route) { return route == Route::kEmbeddings || route == Route::kModels || route == Route::kInfo; }

// "%2F" -> "/": model ids hold slashes, and clients escape them. A bad escape stays as it is and then matches no model.
std::string percent_decode(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

HttpResponse json_response(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

HttpResponse refuse(const Error& error, RequestRecord& record) {
  record.error_kind = error_kind(error.code);
  record.error_message = error.message;
  return error_response(error);
}

}  // namespace

ApiServer::ApiServer(ApiConfig config, TextEncoder encode, EngineApi engine, Metrics& metrics)
    : config_(std::move(config)),
      encode_(std::move(encode)),
      engine_(std::move(engine)),
      metrics_(metrics),
      api_metrics_(metrics, config_.version, config_.commit),
      openapi_(openapi_document(config_)),
      pool_(config_.pool_threads, config_.pool_tasks_max),
      context_{config_, encode_, engine_, api_metrics_, pool_, [this](HttpResponse& response) { add_cors(response); }} {
  QUERN_CHECK(!config_.model_names.empty(), "ApiConfig needs a served model name");
}

void ApiServer::handle(HttpRequest request, Responder responder) {
  RequestRecord record;
  record.route = route_of(request.path());
  record.id = request_id_of(request);
  record.method = request.method();
  record.path = request.path();
  record.client_address = request.client_address;
  record.received_us = request.received_us;
  record.body_bytes = static_cast<int64_t>(request.body.size());
  if (record.route == Route::kEmbeddings && record.method == "POST") {
    auto tenant = authenticate(request.header("authorization"), config_.api_keys);
    if (tenant) {
      record.tenant = std::move(*tenant);
      std::make_shared<EmbedCall>(context_, std::move(record), std::move(request), std::move(responder))->start();
      return;
    }
  }
  HttpResponse response = answer(request, record);
  const int64_t now = now_us();
  add_record_headers(response, record, now);
  add_cors(response);
  api_metrics_.count(record, response.status, now);
  log_request(record, response.status, now);
  responder.send(std::move(response));
}

// Everything but a POST of embeddings with a good key.
HttpResponse ApiServer::answer(const HttpRequest& request, RequestRecord& record) {
  const std::string_view path = request.path();
  if (record.route == Route::kOther) {
    return refuse(Error{ErrorCode::kNotFound, "No such route: " + std::string(path) + "; see /openapi.json.", "", 0},
                  record);
  }
  const std::string_view allow = record.route == Route::kEmbeddings ? kAllowPost : kAllowGet;
  const std::string_view method = request.method();
  if (method == "OPTIONS") return answer_options(request, allow);
  const bool allowed = record.route == Route::kEmbeddings ? method == "POST" : method == "GET" || method == "HEAD";
  if (!allowed) {
    HttpResponse response = refuse(Error{ErrorCode::kMethodNotAllowed,
                                         "Method " + record.method + " is not allowed on " + std::string(path) +
                                             "; allowed: " + std::string(allow) + ".",
                                         "", 0},
                                   record);
    response.add_header("Allow", allow);
    return response;
  }
  if (needs_key(record.route)) {
    auto tenant = authenticate(request.header("authorization"), config_.api_keys);
    if (!tenant) return refuse(tenant.error(), record);
    record.tenant = std::move(*tenant);
  }
  switch (record.route) {
    case Route::kModels:
      return path == "/v1/models" ? models() : model(path.substr(kModelPrefix.size()), record);
    case Route::kHealth:
      return json_response("{\"status\":\"ok\"}");
    case Route::kReady:
      return ready(record);
    case Route::kInfo:
      return info();
    case Route::kOpenapi:
      return json_response(openapi_);
    case Route::kMetrics: {
      HttpResponse response = json_response(metrics_.text());
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      return response;
    }
    default:
      return refuse(internal_error("a route without an answer"), record);
  }
}

HttpResponse ApiServer::answer_options(const HttpRequest& request, std::string_view allow) const {
  HttpResponse response;
  response.status = 204;
  response.add_header("Allow", allow);
  if (!config_.cors_origin.empty()) {
    response.add_header("Access-Control-Allow-Methods", allow);
    const std::string_view wanted = request.header("access-control-request-headers");
    response.add_header("Access-Control-Allow-Headers", wanted.empty() ? "authorization, content-type" : wanted);
    response.add_header("Access-Control-Max-Age", "86400");
  }
  return response;
}

void ApiServer::add_cors(HttpResponse& response) const {
  if (config_.cors_origin.empty()) return;
  response.add_header("Access-Control-Allow-Origin", config_.cors_origin);
  response.add_header("Access-Control-Expose-Headers", "x-request-id, server-timing, x-quern-tokens, retry-after");
  if (config_.cors_origin != "*") response.add_header("Vary", "Origin");
}

namespace {

void append_model(std::string& out, const ApiConfig& config, std::string_view name) {
  out.append("{\"id\":");
  append_json_string(out, name);
  out.append(",\"object\":\"model\",\"created\":");
  append_json_integer(out, config.created_s);
  out.append(",\"owned_by\":\"quern\",\"max_model_len\":");
  append_json_integer(out, config.context_tokens_max);
  out.append("}");
}

}  // namespace

HttpResponse ApiServer::models() const {
  std::string out = "{\"object\":\"list\",\"data\":[";
  for (size_t i = 0; i < config_.model_names.size(); ++i) {
    if (i > 0) out.push_back(',');
    append_model(out, config_, config_.model_names[i]);
  }
  return json_response(out + "]}");
}

HttpResponse ApiServer::model(std::string_view id, RequestRecord& record) const {
  const std::string name = percent_decode(id);
  if (std::find(config_.model_names.begin(), config_.model_names.end(), name) == config_.model_names.end()) {
    return refuse(Error{ErrorCode::kNotFound, "The model '" + name + "' does not exist; see /v1/models.", "model", 0},
                  record);
  }
  std::string out;
  append_model(out, config_, name);
  return json_response(std::move(out));
}

HttpResponse ApiServer::ready(RequestRecord& record) const {
  if (auto state = engine_.ready(); !state) return refuse(state.error(), record);
  return json_response("{\"status\":\"ready\"}");
}

HttpResponse ApiServer::info() const {
  std::string out = "{\"version\":";
  append_json_string(out, config_.version);
  out.append(",\"commit\":");
  append_json_string(out, config_.commit);
  out.append(",\"model\":");
  append_json_string(out, config_.model_names.front());
  out.append(",\"revision\":");
  append_json_string(out, config_.model_revision);
  const auto number = [&out](std::string_view name, int64_t value) {
    out.append(",\"").append(name).append("\":");
    append_json_integer(out, value);
  };
  number("width", config_.width);
  number("context_tokens_max", config_.context_tokens_max);
  number("vocab_tokens", config_.vocab_tokens);
  number("inputs_max", config_.inputs_max);
  number("dimensions_min", config_.dimensions_min);
  out.append(",\"prompts\":{");
  bool first = true;
  for (const auto& [name, text] : config_.prompts) {
    if (!first) out.push_back(',');
    first = false;
    append_json_string(out, name);
    out.push_back(':');
    append_json_string(out, text);
  }
  return json_response(out + "}}");
}

HttpResponse ApiServer::transport_error(int status, std::string_view message) {
  RequestRecord record;
  record.route = Route::kTransport;
  record.received_us = now_us();
  record.error_kind = "transport";
  record.error_message = message;
  api_metrics_.count(record, status, record.received_us);
  log_request(record, status, record.received_us);
  return transport_error_response(status, message);
}

}  // namespace quern
