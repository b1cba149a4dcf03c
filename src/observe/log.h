// Log: structured lines (JSON, Elastic Common Schema) on stderr.
//
// One per process, reached through functions. Any thread may log; a call formats on its own thread and leaves the line
// to a LogWriter. What waits is bounded in bytes, and so is a line: when the reader of stderr is too slow lines are
// dropped and counted, nobody waits; a text that is too long is cut. A line for which there is no memory is counted the
// same way: logging never fails what is logged.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace quern {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

/// One field of a line, by its ECS name ("url.path") or "quern.*".
struct LogField {
  std::string_view name;
  std::variant<std::string_view, int64_t, double, bool> value;
};

struct LogConfig {
  LogLevel level = LogLevel::kInfo;
  std::string service_version = "unknown";
  bool plain = false;                  // for people at a terminal: level, message and fields instead of JSON
  size_t waiting_bytes_max = 4 << 20;  // of lines that wait for the reader of stderr
  size_t text_bytes_max = 1024;        // of one message or field; the rest is cut and told by "..."
  size_t line_bytes_max = 8 * 1024;    // of one line; fields beyond it are left out and told by "quern.cut": true
};

/// Starts logging. Before it, and after log_stop(), lines go nowhere. Any thread, while others log.
void log_start(const LogConfig& config);
/// Writes out what is queued; a reader of stderr that takes nothing for a second does not get it.
void log_stop();

/// "debug", "info", "warn", "error", "off"; false when it is none of them.
bool parse_log_level(std::string_view text, LogLevel& level);

bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {}) noexcept;
/// Lines dropped so far because the reader of stderr was too slow or memory was short.
uint64_t log_lines_dropped();

inline void log_debug(std::string_view message, std::initializer_list<LogField> fields = {}) {
  log_line(LogLevel::kDebug, message, fields);
}
inline void log_info(std::string_view message, std::initializer_list<LogField> fields = {}) {
  log_line(LogLevel::kInfo, message, fields);
}
inline void log_warn(std::string_view message, std::initializer_list<LogField> fields = {}) {
  log_line(LogLevel::kWarn, message, fields);
}
inline void log_error(std::string_view message, std::initializer_list<LogField> fields = {}) {
  log_line(LogLevel::kError, message, fields);
}

}  // namespace quern
