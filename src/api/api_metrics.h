// ApiMetrics: the families of the request path and of the process. Counting is safe from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "api/request_record.h"
#include "http/http_config.h"
#include "observe/metrics.h"

namespace quern {

class ApiMetrics {
 public:
  ApiMetrics(Metrics& metrics, const std::string& version, const std::string& commit);

  /// Counts one ended request.
  void count(const RequestRecord& record, int status, int64_t now);
  /// A vector was stopped by the last gate.
  void count_bad_vector() { bad_vectors_.Increment(); }
  /// Shows the transport's counters too. They must outlive the registry's last scrape.
  void watch(const HttpCounters& counters);

 private:
  static constexpr std::array<int, 15> kStatuses = {200, 204, 400, 401, 404, 405, 408, 413,
                                                    429, 431, 499, 500, 503, 504, 0};
  prometheus::Counter& requests_counter(Route route, int status);
  void watch_gauge(const std::string& name, const std::string& help, const std::atomic<int64_t>& value);
  void watch_counter(const std::string& name, const std::string& help, const std::atomic<uint64_t>& value);

  Metrics& metrics_;
  std::array<std::array<std::atomic<prometheus::Counter*>, kStatuses.size()>, kRouteCount> requests_{};
  prometheus::Counter& inputs_;
  prometheus::Counter& tokens_;
  prometheus::Counter& bad_vectors_;
  prometheus::Histogram& tokenize_seconds_;
  prometheus::Histogram& queue_seconds_;
  prometheus::Histogram& compute_seconds_;
  prometheus::Histogram& total_seconds_;
};

}  // namespace quern
