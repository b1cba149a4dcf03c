#include "app/memory_plan.h"

#include <algorithm>
#include <cstdio>

namespace quern {
namespace {

constexpr int64_t kRequestsBytesMax = int64_t{1} << 30;

std::string lower(const std::string& flag, int64_t from, int64_t to) {
  std::string text = "lower " + flag + " from " + std::to_string(from);
  if (to > 0) text += " to " + std::to_string(to);
  return text;
}

}  // namespace

std::string bytes_text(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, value < 10 && unit > 0 ? "%.2f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::vector<MemoryRow> memory_rows(const MemoryPlan& plan) {
  return {{"weights", plan.weights_bytes, "--model-path, --dtype"},
          {"activations", plan.activations_bytes, "--max-batch-tokens"},
          {"K/V pages", plan.kv_bytes, "--context-length, --max-batch-tokens, --max-batch-inputs"},
          {"requests", plan.requests_bytes, "--max-buffered-bytes"}};
}

int64_t default_requests_bytes(int64_t left_bytes, int64_t body_bytes_max) {
  return std::min(kRequestsBytesMax, std::max(left_bytes / 2, 2 * body_bytes_max));
}

Result<void> check_memory(const MemoryPlan& plan, const MachineLimits& machine) {
  const int64_t have = machine.memory_available_bytes;
  if (plan.total_bytes() <= have) return {};
  const std::string missing = "the model needs " + bytes_text(plan.total_bytes()) + " (weights " +
                              bytes_text(plan.weights_bytes) + ", activations " + bytes_text(plan.activations_bytes) +
                              ", K/V " + bytes_text(plan.kv_bytes) + ", requests " + bytes_text(plan.requests_bytes) +
                              ") and " + bytes_text(have) + " are available (" + machine.memory_source + "); ";
  const int64_t fixed = plan.weights_bytes + plan.activations_bytes;
  if (plan.weights_bytes > have)
    return invalid_argument(missing + "a smaller model or --dtype bf16 is needed", "--dtype");
  if (fixed > have)
    return invalid_argument(missing + lower("--max-batch-tokens", plan.batch_tokens_max, 0), "--max-batch-tokens");
  const int64_t over = plan.total_bytes() - have;
  const int64_t tokens_over = plan.kv_bytes_per_token == 0 ? 0 : over / plan.kv_bytes_per_token + 1;
  if (plan.kv_bytes >= plan.requests_bytes && tokens_over < plan.context_tokens_max)
    return invalid_argument(
        missing + lower("--context-length", plan.context_tokens_max, plan.context_tokens_max - tokens_over),
        "--context-length");
  if (plan.requests_bytes > over)
    return invalid_argument(missing + lower("--max-buffered-bytes", plan.requests_bytes, plan.requests_bytes - over),
                            "--max-buffered-bytes");
  return invalid_argument(missing + lower("--max-batch-inputs and --context-length", plan.context_tokens_max, 0),
                          "--context-length");
}

}  // namespace quern
