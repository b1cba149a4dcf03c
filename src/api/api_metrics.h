// ApiMetrics: the families of the request path and of the process. Counting is safe from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "api/errors.h"
#include "api/request_record.h"
#include "base/memory_budget.h"
#include "http/http_config.h"
#include "observe/metrics.h"

namespace quern {

class ApiMetrics {
 public:
  ApiMetrics(Metrics& metrics, const std::string& version, const std::string& commit, const MemoryBudget& budget);

  /// Counts one ended request.
  void count(const RequestRecord& record, int status, int64_t now) noexcept;
  /// A vector was stopped by the last gate.
  void count_bad_vector() { bad_vectors_.Increment(); }
  /// A Call begins (+1) or is gone (-1): the gauge that finds a leak.
  void count_call(int change) { calls_live_.fetch_add(change, std::memory_order_relaxed); }
  int64_t calls_live() const { return calls_live_.load(std::memory_order_relaxed); }
  /// Shows the transport's counters too. They must outlive the registry's last scrape.
  void watch(const HttpCounters& counters);

 private:
  static constexpr std::array<int, 19> kStatuses = {200, 204, 400, 401, 404, 405, 408, 413, 415, 417,
                                                    429, 431, 499, 500, 501, 503, 504, 505, 0};
  void add_up(const RequestRecord& record, int status, int64_t now);
  prometheus::Counter& requests_counter(const Route& route, int status);
  prometheus::Counter& errors_counter(const RequestRecord& record);
  void watch_gauge(const std::string& name, const std::string& help, const std::atomic<int64_t>& value);
  void watch_counter(const std::string& name, const std::string& help, const std::atomic<uint64_t>& value);

  Metrics& metrics_;
  // Made when first counted, kept for good: by row of the table of routes, and by ErrorCode, the transport's last.
  std::vector<std::array<std::atomic<prometheus::Counter*>, kStatuses.size()>> requests_;
  std::array<std::atomic<prometheus::Counter*>, kErrorCodeCount + 1> errors_{};
  std::atomic<int64_t> calls_live_{0};
  prometheus::Counter& inputs_;
  prometheus::Counter& tokens_;
  prometheus::Counter& bad_vectors_;
  prometheus::Histogram& tokenize_seconds_;
  prometheus::Histogram& queue_seconds_;
  prometheus::Histogram& compute_seconds_;
  prometheus::Histogram& total_seconds_;
};

}  // namespace quern
