#include "api/request_record.h"

#include <algorithm>
#include <charconv>
#include <random>

#include "api/errors.h"
#include "api/routes/routes.h"
#include "base/ascii.h"
#include "observe/log.h"

namespace quern {

namespace {

constexpr size_t kRequestIdBytesMax = 128;

bool sane_id(std::string_view id) {
  if (id.empty() || id.size() > kRequestIdBytesMax) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return is_digit(c) || is_letter(c) || c == '-' || c == '_' || c == '.' || c == ':';
  });
}

uint64_t random_u64() {
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return generator();
}

void append_ms(std::string& out, std::string_view name, int64_t us) {
  char digits[32];
  const auto end =
      std::to_chars(digits, digits + sizeof digits, static_cast<double>(us) / 1000.0, std::chars_format::fixed, 3).ptr;
  if (!out.empty()) out.append(", ");
  out.append(name).append(";dur=").append(digits, end);
}

}  // namespace

std::string_view failure_kind(const RequestRecord& record) {
  if (!record.error) return "";
  return record.route == &transport_route() ? "transport" : error_kind(*record.error);
}

std::string request_id_of(const HttpRequest& request) {
  const std::string_view given = request.header("x-request-id");
  if (sane_id(given)) return std::string(given);
  constexpr char kHex[] = "0123456789abcdef";
  std::string id(32, '0');
  for (size_t half = 0; half < 2; ++half) {
    uint64_t bits = random_u64();
    for (size_t i = 0; i < 16; ++i, bits >>= 4) id[half * 16 + i] = kHex[bits & 15];
  }
  return id;
}

void add_record_headers(HttpResponse& response, const RequestRecord& record, int64_t now) {
  response.add_header("x-request-id", record.id);
  if (record.route->codec == nullptr) return;
  std::string timing;
  append_ms(timing, "tokenize", record.tokenize_us);
  append_ms(timing, "queue", record.queue_us);
  append_ms(timing, "compute", record.compute_us);
  append_ms(timing, "total", now - record.received_us);
  response.add_header("server-timing", timing);
  response.add_header("x-quern-tokens", std::to_string(record.tokens));
}

void log_request(const RequestRecord& record, int status, int64_t now) noexcept {
  const LogLevel level = status >= 500 ? LogLevel::kWarn : LogLevel::kInfo;
  if (!log_enabled(level)) return;
  log_line(level, "request",
           {{"event.dataset", "quern.access"},
            {"event.outcome", status < 400 ? std::string_view("success") : std::string_view("failure")},
            {"event.duration", (now - record.received_us) * 1000},
            {"http.request.id", record.id},
            {"http.request.method", record.method},
            {"http.request.body.bytes", record.body_bytes},
            {"http.response.status_code", static_cast<int64_t>(status)},
            {"url.path", record.path},
            {"client.address", record.client_address},
            {"user.name", record.key_name},
            {"error.code", failure_kind(record)},
            {"error.message", record.error_message},
            {"quern.route", record.route->name},
            {"quern.inputs", static_cast<int64_t>(record.inputs)},
            {"quern.tokens", record.tokens},
            {"quern.tokenize_us", record.tokenize_us},
            {"quern.queue_us", record.queue_us},
            {"quern.compute_us", record.compute_us}});
}

}  // namespace quern
