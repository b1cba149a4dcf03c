#include "app/memory_plan.h"

#include <algorithm>
#include <cstdio>

namespace quern {
namespace {

constexpr int64_t kRequestsBytesMax = int64_t{1} << 30;

Error too_much(const std::string& why, const std::string& flag, int64_t from, int64_t to) {
  return invalid_argument(why + "lower " + flag + " from " + std::to_string(from) + " to " + std::to_string(to), flag);
}

int64_t rounded_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

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
          {"scratch", plan.scratch_bytes, "--max-batch-tokens"},
          {"K/V pages", plan.kv_bytes, "--context-length, --max-batch-tokens, --max-batch-inputs"},
          {"requests", plan.requests_bytes, "--max-buffered-bytes"}};
}

int64_t default_requests_bytes(int64_t left_bytes, int64_t least_bytes) {
  return std::max(least_bytes, std::min(kRequestsBytesMax, left_bytes / 2));
}

Result<void> check_memory(const MemoryPlan& plan, const MachineLimits& machine) {
  const int64_t have = machine.memory_available_bytes;
  const int64_t over = plan.total_bytes() - have;
  if (over <= 0) return {};
  std::string why = "the model needs " + bytes_text(plan.total_bytes()) + " (weights " +
                    bytes_text(plan.weights_bytes) + ", activations " +
                    bytes_text(plan.activations_bytes + plan.scratch_bytes) + ", K/V " + bytes_text(plan.kv_bytes);
  if (plan.requests_bytes > 0) why += ", requests " + bytes_text(plan.requests_bytes);
  why += ") and " + bytes_text(have) + " are available (" + machine.memory_source + "); ";
  if (plan.weights_bytes > have) return invalid_argument(why + "a smaller model or --dtype bf16 is needed", "--dtype");
  if (plan.weights_bytes + plan.activations_bytes + plan.scratch_bytes > have)
    return invalid_argument(why + "lower --max-batch-tokens from " + std::to_string(plan.batch_tokens_max),
                            "--max-batch-tokens");
  // Each block of the context less is a block of every layer less, at least.
  const int64_t blocks =
      plan.kv_bytes_per_block == 0 ? 0 : rounded_up(over, plan.kv_bytes_per_block) / plan.kv_bytes_per_block;
  const int64_t context = plan.context_tokens_max / plan.block_tokens * plan.block_tokens - blocks * plan.block_tokens;
  const int64_t requests = plan.requests_bytes - over;
  const bool context_helps = blocks > 0 && context > 0;
  if (requests >= plan.requests_bytes_min && plan.requests_bytes_min > 0 &&
      (!context_helps || plan.requests_bytes > plan.kv_bytes))
    return too_much(why, "--max-buffered-bytes", plan.requests_bytes, requests);
  if (context_helps) return too_much(why, "--context-length", plan.context_tokens_max, context);
  return invalid_argument(why + "lower --context-length, --max-batch-tokens and --max-batch-inputs together",
                          "--context-length");
}

}  // namespace quern
