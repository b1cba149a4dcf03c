#include "model/known_answers.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/excerpt.h"
#include "model/json_file.h"

namespace quern {
namespace {

/// Texts for models that bring no answers of their own: they must give finite, different vectors.
const std::vector<KnownAnswer>& plain_texts() {
  static const std::vector<KnownAnswer> texts = {{"The capital of China is Beijing.", "", {}},
                                                 {"重力是一种力。", "", {}}};
  return texts;
}

Result<KnownAnswer> parse_answer(simdjson::dom::element item, const std::string& where) {
  KnownAnswer answer;
  std::string_view text, prompt_name;
  simdjson::dom::array vector;
  if (item["text"].get(text) != simdjson::SUCCESS) return invalid_argument(where + " has no string \"text\"");
  if (item["vector"].get(vector) != simdjson::SUCCESS) return invalid_argument(where + " has no array \"vector\"");
  if (item["prompt_name"].get(prompt_name) == simdjson::SUCCESS) answer.prompt_name = prompt_name;
  answer.text = text;
  for (simdjson::dom::element value : vector) {
    double number = 0;
    if (value.get(number) != simdjson::SUCCESS)
      return invalid_argument(where + ": \"vector\" holds something other than numbers");
    answer.vector.push_back(static_cast<float>(number));
  }
  return answer;
}

Result<void> check_one(const KnownAnswer& answer, const Output& vector, double cosine_min, CheckOutcome& outcome) {
  const double norm = std::sqrt(squared_norm(vector.values));
  char figures[160];
  if (!(std::abs(norm - 1.0) <= kNormTolerance)) {  // a NaN fails too
    std::snprintf(figures, sizeof figures, "norm %.6g, expected 1", norm);
    return internal_error("known-answer check: \"" + excerpt(answer.text) + "\" gave a vector of " + figures);
  }
  if (answer.vector.empty()) return {};
  if (answer.vector.size() != vector.values.size()) {
    return invalid_argument("known_answers.json: a vector for \"" + excerpt(answer.text) + "\" has " +
                            std::to_string(answer.vector.size()) + " values; the model's width is " +
                            std::to_string(vector.values.size()));
  }
  const double cosine = dot(answer.vector, vector.values) / std::sqrt(squared_norm(answer.vector)) / norm;
  ++outcome.compared;
  outcome.worst_cosine = std::min(outcome.worst_cosine, cosine);
  if (!(cosine >= cosine_min)) {
    std::snprintf(figures, sizeof figures, "cosine %.7f with the stored answer, at least %.7f is expected", cosine,
                  cosine_min);
    return internal_error("known-answer check: \"" + excerpt(answer.text) + "\" gave a " + figures);
  }
  return {};
}

}  // namespace

double known_answer_cosine_min(std::string_view dtype) {
  if (dtype == "f32") return 1.0 - 1e-5;
  return dtype == "fp8" ? 0.95 : 0.999;
}

Result<std::vector<KnownAnswer>> read_known_answers(const std::string& model_dir) {
  std::vector<KnownAnswer> answers;
  auto file = JsonFile::load_if_present(model_dir, "known_answers.json");
  if (!file) return file.error();
  if (!*file) return answers;
  const auto items = (*file)->root().find("texts");
  simdjson::dom::array texts;
  if (!items || items->get(texts) != simdjson::SUCCESS) return (*file)->root().bad("texts", "an array");
  for (simdjson::dom::element item : texts) {
    auto answer = parse_answer(item, (*file)->path() + ": texts[" + std::to_string(answers.size()) + "]");
    if (!answer) return answer.error();
    answers.push_back(std::move(*answer));
  }
  return answers;
}

Result<CheckOutcome> check_known_answers(const std::vector<KnownAnswer>& answers, double cosine_min,
                                         const EmbedText& embed) {
  CheckOutcome outcome;
  std::optional<std::pair<std::string, Output>> first;
  const std::vector<KnownAnswer>& texts = answers.empty() ? plain_texts() : answers;
  for (const KnownAnswer& answer : texts) {
    Result<std::optional<Output>> vector = embed(answer.text, answer.prompt_name);
    if (!vector) return vector.error();
    if (!*vector) {
      ++outcome.left_out;
      continue;
    }
    if (auto checked = check_one(answer, **vector, cosine_min, outcome); !checked) return checked.error();
    ++outcome.embedded;
    if (!first) {
      first.emplace(answer.text, std::move(**vector));
    } else if (first->second.values == (*vector)->values) {
      return internal_error("known-answer check: \"" + excerpt(first->first) + "\" and \"" + excerpt(answer.text) +
                            "\" gave the same vector");
    }
  }
  return outcome;
}

}  // namespace quern
