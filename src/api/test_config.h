// A small model and limits for the API's tests.
#pragma once

#include <string>
#include <utility>

#include "api/codec.h"
#include "api/prompts.h"
#include "api/routes/openai_codec.h"

namespace quern {

/// Takes no Jobs.
class NoEmbedder : public Embedder {
 public:
  Result<std::vector<uint64_t>> submit(std::vector<Job>) override { return internal_error("no Jobs here"); }
  void cancel(std::span<const uint64_t>) override {}
  Result<void> room(int64_t, int64_t) const override { return {}; }
};

inline ServedModel small_model() {
  static NoEmbedder embedder;
  ServedModel model;
  model.names = {"first", "second"};
  model.width = 64;
  model.context_tokens_max = 100;
  model.vocab_tokens = 1000;
  model.eos_token_id = 999;
  model.prompts = default_prompts();
  model.embedder = &embedder;
  model.encode = [](std::string_view, std::string_view, int32_t, Truncation) -> Result<std::vector<int32_t>> {
    return std::vector<int32_t>{999};
  };
  return model;
}

inline ApiConfig small_config() {
  ApiConfig config;
  config.inputs_max = 3;
  return config;
}

/// A body, and what the OpenAI codec makes of it; the plan's views are into the body.
struct Parsed {
  explicit Parsed(std::string text, ApiConfig config = small_config(), ServedModel model = small_model(),
                  std::string path_model = "", int64_t budget_bytes = int64_t{1} << 30)
      : body(std::move(text)), budget(budget_bytes), models({std::move(model)}), plan(internal_error("not yet")) {
    MemoryBudget::Lease lease(budget);
    plan = parse_openai_embed({body, path_model, models, config, lease});
    held_bytes = lease.bytes();
  }
  std::string body;
  MemoryBudget budget;
  Models models;
  Result<CallPlan> plan;
  int64_t held_bytes = 0;

  bool ok() const { return plan.ok(); }
  const Error& error() const { return plan.error(); }
  const CallPlan* operator->() const { return &plan.value(); }
  std::string text(size_t i) const { return std::string(std::get<std::string_view>(plan.value().inputs[i])); }
  std::vector<int32_t> ids(size_t i) const { return std::get<std::vector<int32_t>>(plan.value().inputs[i]); }
};

}  // namespace quern
