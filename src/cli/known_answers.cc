#include "cli/known_answers.h"

#include <simdjson.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

namespace quern {
namespace {

/// Texts for models that bring no answers of their own: they must give finite, different vectors.
const std::vector<KnownAnswer>& plain_texts() {
  static const std::vector<KnownAnswer> texts = {{"The capital of China is Beijing.", "", {}},
                                                 {"重力是一种力。", "", {}}};
  return texts;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
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
  const double norm = std::sqrt(dot(vector.values, vector.values));
  char figures[160];
  if (!(std::abs(norm - 1.0) <= kNormTolerance)) {  // a NaN fails too
    std::snprintf(figures, sizeof figures, "norm %.6g, expected 1", norm);
    return internal_error("known-answer check: \"" + answer.text + "\" gave a vector of " + figures);
  }
  if (answer.vector.empty()) return {};
  if (answer.vector.size() != vector.values.size()) {
    return invalid_argument("known_answers.json: a vector for \"" + answer.text + "\" has " +
                            std::to_string(answer.vector.size()) + " values; the model's width is " +
                            std::to_string(vector.values.size()));
  }
  const double cosine = dot(answer.vector, vector.values) / std::sqrt(dot(answer.vector, answer.vector)) / norm;
  ++outcome.compared;
  if (cosine < outcome.worst_cosine) {
    outcome.worst_cosine = cosine;
    outcome.worst_text = answer.text;
  }
  if (!(cosine >= cosine_min)) {
    std::snprintf(figures, sizeof figures, "cosine %.7f with the stored answer, at least %.7f is expected", cosine,
                  cosine_min);
    return internal_error("known-answer check: \"" + answer.text + "\" gave a " + figures);
  }
  return {};
}

}  // namespace

double known_answer_cosine_min(std::string_view dtype) { return dtype == "f32" ? 1.0 - 1e-5 : 0.999; }

Result<std::vector<KnownAnswer>> read_known_answers(const std::string& model_dir) {
  const std::string path = model_dir + "/known_answers.json";
  std::vector<KnownAnswer> answers;
  if (!std::filesystem::exists(path)) return answers;
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::array texts;
  if (const auto error = parser.load(path).get(root))
    return invalid_argument(path + ": " + simdjson::error_message(error));
  if (root["texts"].get(texts) != simdjson::SUCCESS) return invalid_argument(path + ": no array \"texts\"");
  for (simdjson::dom::element item : texts) {
    auto answer = parse_answer(item, path + ": texts[" + std::to_string(answers.size()) + "]");
    if (!answer) return answer.error();
    answers.push_back(std::move(*answer));
  }
  return answers;
}

Result<CheckOutcome> check_known_answers(const std::vector<KnownAnswer>& answers, double cosine_min,
                                         const EmbedText& embed) {
  CheckOutcome outcome;
  std::vector<Output> vectors;
  const std::vector<KnownAnswer>& texts = answers.empty() ? plain_texts() : answers;
  for (const KnownAnswer& answer : texts) {
    Result<Output> vector = embed(answer.text, answer.prompt_name);
    if (!vector) return vector.error();
    if (auto checked = check_one(answer, *vector, cosine_min, outcome); !checked) return checked.error();
    vectors.push_back(std::move(*vector));
  }
  for (size_t i = 1; i < vectors.size(); ++i) {
    if (vectors[i].values == vectors[0].values) {
      return internal_error("known-answer check: \"" + texts[0].text + "\" and \"" + texts[i].text +
                            "\" gave the same vector");
    }
  }
  return outcome;
}

}  // namespace quern
