#include "observe/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <ctime>
#include <memory>
#include <mutex>
#include <thread>

#include "base/excerpt.h"
#include "observe/log_writer.h"

namespace quern {

namespace {

struct State {
  LogConfig config;
  std::unique_ptr<LogWriter> writer;
  std::string tail;  // the fields that are the same on every line
};

State& state() {
  static State instance;
  return instance;
}

std::mutex start_stop_mutex;  // one log_start() or log_stop() at a time
std::atomic<int> level_now{static_cast<int>(LogLevel::kOff)};
std::atomic<uint64_t> dropped_before{0};  // by earlier loggers, and lines for which there was no memory
std::atomic<int> writers{0};  // threads inside log_line(): log_stop() waits for them before it takes the logger away

std::string_view level_name(LogLevel level) {
  constexpr std::string_view kNames[] = {"debug", "info", "warn", "error", "off"};
  return kNames[static_cast<int>(level)];
}

// "2026-01-31T12:00:00.123456Z"; the part up to the second is cached per thread.
void append_timestamp(std::string& out) {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  const int64_t us = std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
  thread_local std::time_t cached_second = -1;
  thread_local char cached[32];
  const std::time_t second = us / 1'000'000;
  if (second != cached_second) {
    std::tm parts{};
    gmtime_r(&second, &parts);
    std::strftime(cached, sizeof cached, "%Y-%m-%dT%H:%M:%S.", &parts);
    cached_second = second;
  }
  char fraction[7];
  int64_t rest = us % 1'000'000;
  for (int i = 5; i >= 0; --i, rest /= 10) fraction[i] = static_cast<char>('0' + rest % 10);
  out.append(cached, 20).append(fraction, 6).append("Z");
}

template <typename Number>
void append_number(std::string& out, Number value) {
  char digits[32];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

/// At most `bytes_max` bytes of `text`, cut at the end of a code point, as the inside of a JSON string.
void append_text(std::string& out, std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return append_json_escaped(out, text);
  size_t end = bytes_max;
  while (end > 0 && bytes_max - end < 4 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  append_json_escaped(out, text.substr(0, end));
  out.append("...");
}

void append_field(std::string& out, const LogField& field, size_t text_bytes_max) {
  out.append(",\"").append(field.name).append("\":");
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    out.push_back('"');
    append_text(out, *text, text_bytes_max);
    out.push_back('"');
  } else if (const auto* integer = std::get_if<int64_t>(&field.value)) {
    append_number(out, *integer);
  } else if (const auto* real = std::get_if<double>(&field.value)) {
    if (std::isfinite(*real)) {
      append_number(out, *real);
    } else {
      out.append("null");
    }
  } else {
    out.append(std::get<bool>(field.value) ? "true" : "false");
  }
}

void stop_locked() {
  level_now.store(static_cast<int>(LogLevel::kOff));
  while (writers.load() != 0) std::this_thread::yield();  // a writer that comes later sees kOff and leaves
  State& s = state();
  if (!s.writer) return;
  dropped_before.fetch_add(s.writer->dropped());
  s.writer.reset();
}

}  // namespace

bool parse_log_level(std::string_view text, LogLevel& level) {
  for (int i = 0; i <= static_cast<int>(LogLevel::kOff); ++i) {
    if (level_name(static_cast<LogLevel>(i)) == text) {
      level = static_cast<LogLevel>(i);
      return true;
    }
  }
  return false;
}

void log_start(const LogConfig& config) {
  std::lock_guard lock(start_stop_mutex);
  stop_locked();
  if (config.level == LogLevel::kOff) return;
  State& s = state();
  s.config = config;
  s.tail = ",\"ecs.version\":\"8.11\",\"service.name\":\"quern\",\"service.version\":\"";
  append_json_escaped(s.tail, config.service_version);
  s.tail += "\",\"process.pid\":" + std::to_string(::getpid()) + "}\n";
  s.writer = std::make_unique<LogWriter>(config.waiting_bytes_max);
  level_now.store(static_cast<int>(config.level));
}

void log_stop() {
  std::lock_guard lock(start_stop_mutex);
  stop_locked();
}

namespace {

struct Writer {
  Writer() { ++writers; }
  ~Writer() { --writers; }
};

}  // namespace

bool log_enabled(LogLevel level) { return static_cast<int>(level) >= level_now.load(std::memory_order_relaxed); }

namespace {

void write_plain_line(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  const LogConfig& limits = state().config;
  std::string line(level_name(level));
  line.append("  ");
  append_text(line, message, limits.text_bytes_max);
  std::string field_text;
  for (const LogField& field : fields) {
    field_text.clear();
    append_field(field_text, field, limits.text_bytes_max);  // ,"NAME":VALUE
    if (line.size() + field_text.size() > limits.line_bytes_max) break;
    line.append("  ").append(field.name).append("=").append(field_text, field.name.size() + 4);
  }
  line.push_back('\n');
  state().writer->add(line, level >= LogLevel::kWarn);
}

void write_line(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  thread_local std::string line;
  line.assign("{\"@timestamp\":\"");
  append_timestamp(line);
  line.append("\",\"log.level\":\"").append(level_name(level)).append("\",\"message\":\"");
  const LogConfig& limits = state().config;
  append_text(line, message, limits.text_bytes_max);
  line.push_back('"');
  for (const LogField& field : fields) {
    const size_t before = line.size();
    append_field(line, field, limits.text_bytes_max);
    if (line.size() <= limits.line_bytes_max) continue;
    line.resize(before);
    line.append(",\"quern.cut\":true");
    break;
  }
  line.append(state().tail);
  state().writer->add(line, level >= LogLevel::kWarn);
}

}  // namespace

void log_line(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) noexcept {
  if (!log_enabled(level) || level == LogLevel::kOff) return;
  const Writer inside;
  if (level_now.load() == static_cast<int>(LogLevel::kOff)) return;  // log_stop() has begun
  try {
    if (state().config.plain) {
      write_plain_line(level, message, fields);
    } else {
      write_line(level, message, fields);
    }
  } catch (const std::exception&) {
    dropped_before.fetch_add(1);
  }
}

uint64_t log_lines_dropped() {
  const State& s = state();
  return dropped_before.load() + (s.writer ? s.writer->dropped() : 0);
}

}  // namespace quern
