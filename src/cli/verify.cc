#include <cmath>
#include <cstdio>
#include <vector>

#include "app/model_stack.h"
#include "cli/commands.h"
#include "cli/published_scores.h"
#include "cli/report.h"
#include "model/known_answers.h"

namespace quern {
namespace {

const PublishedScores* find_published(const ModelFolder& files) {
  for (const PublishedScores& scores : kPublishedScores) {
    for (const std::string& name : {files.name, files.dir}) {
      if (name.find(scores.model) != std::string::npos) {
        return &scores;
      }
    }
  }
  return nullptr;
}

double dot(const Output& a, const Output& b) {
  double sum = 0;
  for (size_t i = 0; i < a.values.size(); ++i)
    sum += static_cast<double>(a.values[i]) * static_cast<double>(b.values[i]);
  return sum;
}

/// Prints the card's table beside ours; the largest difference.
Result<double> compare_published(const PublishedScores& scores, const ModelFolder& files, Engine& engine) {
  double worst = 0;
  std::printf("published scores of %s:\n", std::string(scores.model).c_str());
  for (size_t i = 0; i < kPublishedQueries.size(); ++i) {
    const auto query = embed_text(files, engine, files.prompts.at("query"), std::string(kPublishedQueries[i]));
    if (!query) return query.error();
    for (size_t j = 0; j < kPublishedDocuments.size(); ++j) {
      const auto document = embed_text(files, engine, "", std::string(kPublishedDocuments[j]));
      if (!document) return document.error();
      const double ours = dot(*query, *document), published = scores.query_document[i][j];
      worst = std::max(worst, std::abs(ours - published));
      std::printf("  query %zu, document %zu: published %.4f, here %.4f\n", i + 1, j + 1, published, ours);
    }
  }
  return worst;
}

Result<bool> verify(const VerifyOptions& options) {
  auto files = read_model_folder(options.model);
  if (!files) return files.error();
  auto stack = load_model(*files, options.model, make_scheduler_config(*files, options.model), read_machine_limits());
  if (!stack) return stack.error();
  const ModelFolder& model = (*stack)->folder();
  Engine engine({(*stack)->scheduler_config()}, {(*stack)->replica()});
  std::printf("model %s in %s, %s\n", model.name.c_str(), model.dir.c_str(),
              std::string((*stack)->dtype_name()).c_str());

  const auto checked = check_model(**stack, engine, options.model);
  if (!checked) return checked.error();
  if (checked->compared > 0) {
    std::printf("known answers: %zu agree, lowest cosine %.7f\n", checked->compared, checked->worst_cosine);
  } else {
    std::printf("known answers: none beside the model; its vectors are finite, of norm 1, and differ between texts\n");
  }
  const PublishedScores* published = find_published(model);
  if (published == nullptr) return true;
  const auto worst = compare_published(*published, model, engine);
  if (!worst) return worst.error();
  std::printf("largest difference %.4f, allowed %.4f\n", *worst, kPublishedTolerance);
  return *worst <= kPublishedTolerance;
}

}  // namespace

int verify_command(const VerifyOptions& options) {
  const auto agreed = verify(options);
  if (!agreed) return report_error("verify", agreed.error());
  std::printf(*agreed ? "OK\n" : "NOT OK\n");
  return *agreed ? 0 : 1;
}

}  // namespace quern
