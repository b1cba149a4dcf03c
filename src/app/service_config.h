// From what a person chose to what each part of the server is made with. Pure functions.
#pragma once

#include <vector>

#include "api/api_config.h"
#include "api/served_model.h"
#include "app/device.h"
#include "app/options.h"
#include "http/http_config.h"
#include "model/model_folder.h"
#include "observe/metrics.h"
#include "sched/scheduler_config.h"

namespace quern {

/// What --max-body-bytes and --max-header-bytes need of the memory for requests.
int64_t least_requests_bytes(const ServeOptions& options);

/// Limits that contradict each other are an Error that names the flag.
Result<void> check_limits(const ServeOptions& options);

/// `folder` and `embedder` must outlive it.
ServedModel served_model(const ServeOptions& options, const ModelFolder& folder, const Device& device,
                         Embedder& embedder);
ApiConfig api_config(const ServeOptions& options, std::vector<ApiKey> keys);
/// Without error_response.
HttpServerConfig http_config(const ServeOptions& options);

/// One quern_limit for each configured limit of the transport, the API and the scheduler, by field.
void show_limits(Metrics& metrics, const HttpServerConfig& http, const ApiConfig& api,
                 const SchedulerConfig& scheduler);

}  // namespace quern
