#include "api/api_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <string>

#include "api/routes/routes.h"
#include "observe/log.h"

namespace quern {

namespace {

const Metrics::Buckets kSecondsBuckets = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                          0.1,    0.25,    0.5,    1,     2.5,    5,     10,   30,    60};

double seconds(int64_t us) { return static_cast<double>(us) * 1e-6; }

void catch_up(prometheus::Counter& counter, double total) {
  if (total > counter.Value()) counter.Increment(total - counter.Value());
}

void add_process_metrics(Metrics& metrics) {
  auto& resident = metrics.gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
  auto& cpu = metrics.counter("process_cpu_seconds_total", "User and system CPU time spent in seconds.");
  metrics.gauge("process_start_time_seconds", "Start time of the process since the Unix epoch in seconds.")
      .Set(static_cast<double>(std::time(nullptr)));
  auto& dropped = metrics.counter("quern_log_lines_dropped_total",
                                  "Log lines dropped because their reader was too slow or memory was short.");
  metrics.on_scrape([&resident, &cpu, &dropped] {
    std::ifstream statm("/proc/self/statm");
    double pages = 0;
    double resident_pages = 0;
    if (statm >> pages >> resident_pages) resident.Set(resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE)));
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto total = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    catch_up(cpu, total(usage.ru_utime) + total(usage.ru_stime));
    catch_up(dropped, static_cast<double>(log_lines_dropped()));
  });
}

}  // namespace

ApiMetrics::ApiMetrics(Metrics& metrics, const std::string& version, const std::string& commit,
                       const MemoryBudget& budget)
    : metrics_(metrics),
      requests_(all_routes().size()),
      inputs_(metrics.counter("quern_inputs_total", "Inputs of embedding requests that were answered with vectors.")),
      tokens_(metrics.counter("quern_tokens_total", "Tokens of those inputs, EOS included.")),
      bad_vectors_(
          metrics.counter("quern_bad_vectors_total", "Vectors stopped before they left: not finite, or norm not 1.")),
      tokenize_seconds_(
          metrics.histogram("quern_tokenize_seconds", "Parsing and tokenizing of one request.", kSecondsBuckets)),
      queue_seconds_(metrics.histogram("quern_queue_seconds", "From submission to the first batch, per request.",
                                       kSecondsBuckets)),
      compute_seconds_(metrics.histogram("quern_compute_seconds",
                                         "From the first batch to the last vector, per request.", kSecondsBuckets)),
      total_seconds_(metrics.histogram("quern_request_seconds",
                                       "From the first byte to the answer, embedding requests.", kSecondsBuckets)) {
  metrics.gauge("quern_build_info", "Always 1; the labels say what runs.", {{"version", version}, {"commit", commit}})
      .Set(1);
  add_process_metrics(metrics);
  watch_gauge("quern_calls_live", "Requests for embeddings that are somewhere between their bytes and their answer.",
              calls_live_);
  auto& limit = metrics.gauge("quern_limit", "Configured limits, by field", {{"field", "buffered_bytes_max"}});
  auto& buffered =
      metrics.gauge("quern_buffered_bytes", "Bytes that requests hold: bodies, token ids, vectors, answers.");
  metrics.on_scrape([&buffered, &limit, &budget] {
    buffered.Set(static_cast<double>(budget.used_bytes()));
    limit.Set(static_cast<double>(budget.bytes_max()));
  });
}

namespace {

// Looks a counter up once: the registry's lock is no place to meet under overload.
template <typename Make>
prometheus::Counter& cached(std::atomic<prometheus::Counter*>& slot, Make make) {
  prometheus::Counter* counter = slot.load(std::memory_order_acquire);
  if (counter == nullptr) {
    counter = &make();
    slot.store(counter, std::memory_order_release);
  }
  return *counter;
}

}  // namespace

prometheus::Counter& ApiMetrics::requests_counter(const Route& route, int status) {
  size_t column = 0;
  while (kStatuses[column] != status && kStatuses[column] != 0) ++column;
  auto& slot = requests_[static_cast<size_t>(&route - all_routes().data())][column];
  return cached(slot, [&]() -> prometheus::Counter& {
    return metrics_.counter(
        "quern_requests_total", "Requests ended, by route and HTTP status (499: the client left).",
        {{"route", std::string(route.name)}, {"code", kStatuses[column] == 0 ? "other" : std::to_string(status)}});
  });
}

prometheus::Counter& ApiMetrics::errors_counter(const RequestRecord& record) {
  const size_t row = record.route == &transport_route() ? kErrorCodeCount : static_cast<size_t>(*record.error);
  return cached(errors_[row], [&]() -> prometheus::Counter& {
    return metrics_.counter("quern_errors_total", "Requests that failed, by kind.",
                            {{"kind", std::string(failure_kind(record))}});
  });
}

void ApiMetrics::count(const RequestRecord& record, int status, int64_t now) noexcept {
  try {
    add_up(record, status, now);
  } catch (const std::exception&) {
    // A counter that could not be made when it was first needed: it is made the next time, and no answer fails for it.
  }
}

void ApiMetrics::add_up(const RequestRecord& record, int status, int64_t now) {
  requests_counter(*record.route, status).Increment();
  if (record.error) errors_counter(record).Increment();
  if (record.route->codec == nullptr || record.method != "POST") return;
  total_seconds_.Observe(seconds(now - record.received_us));
  if (status != 200) return;
  inputs_.Increment(record.inputs);
  tokens_.Increment(static_cast<double>(record.tokens));
  tokenize_seconds_.Observe(seconds(record.tokenize_us));
  queue_seconds_.Observe(seconds(record.queue_us));
  compute_seconds_.Observe(seconds(record.compute_us));
}

void ApiMetrics::watch(const HttpCounters& c) {
  watch_gauge("quern_http_connections", "Open client connections.", c.connections_open);
  watch_gauge("quern_http_requests_in_flight", "Requests received and not yet answered.", c.requests_in_flight);
  watch_counter("quern_http_connections_total", "Connections accepted.", c.connections_accepted);
  watch_counter("quern_http_connections_refused_total", "Connections above connections_max.", c.connections_refused);
  watch_counter("quern_http_accept_errors_total", "Failed accepts, such as no file descriptor left.", c.accept_errors);
  watch_counter("quern_http_requests_total", "Requests received whole and handed on.", c.requests);
  watch_counter("quern_http_requests_refused_total", "Requests malformed, too large or too slow.", c.requests_refused);
  watch_counter("quern_http_timeouts_total", "Header, body and write timeouts.", c.timeouts);
  watch_counter("quern_http_disconnects_total", "Clients that left with a request in flight.", c.disconnects);
  watch_counter("quern_http_exceptions_total", "Exceptions that cost a request or a connection.", c.exceptions);
  watch_counter("quern_http_received_bytes_total", "Bytes read from clients.", c.bytes_received);
  watch_counter("quern_http_sent_bytes_total", "Bytes written to clients.", c.bytes_sent);
}

void ApiMetrics::watch_gauge(const std::string& name, const std::string& help, const std::atomic<int64_t>& value) {
  metrics_.on_scrape([&gauge = metrics_.gauge(name, help), &value] { gauge.Set(static_cast<double>(value.load())); });
}

void ApiMetrics::watch_counter(const std::string& name, const std::string& help, const std::atomic<uint64_t>& value) {
  metrics_.on_scrape(
      [&counter = metrics_.counter(name, help), &value] { catch_up(counter, static_cast<double>(value.load())); });
}

}  // namespace quern
