#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
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

/// Prints the card's table beside ours; the largest difference.
Result<double> compare_published(const PublishedScores& scores, const ModelFolder& files, Engine& engine) {
  double worst = 0;
  std::vector<Output> documents;
  for (const std::string_view text : kPublishedDocuments) {
    auto document = embed_text(files, engine, "", std::string(text));
    if (!document) return document.error();
    documents.push_back(std::move(*document));
  }
  std::printf("published scores of %s:\n", std::string(scores.model).c_str());
  for (size_t i = 0; i < kPublishedQueries.size(); ++i) {
    const auto query = embed_text(files, engine, files.prompts.at("query"), std::string(kPublishedQueries[i]));
    if (!query) return query.error();
    for (size_t j = 0; j < documents.size(); ++j) {
      const double ours = dot(query->values, documents[j].values), published = scores.query_document[i][j];
      worst = std::max(worst, std::abs(ours - published));
      std::printf("  query %zu, document %zu: published %.4f, here %.4f\n", i + 1, j + 1, published, ours);
    }
  }
  return worst;
}

void print_check(const CheckOutcome& outcome, bool is_skipped) {
  if (is_skipped) {
    std::printf("known answers: skipped, as --skip-check asks\n");
  } else if (outcome.embedded == 0) {
    std::printf("known answers: nothing was embedded\n");
  } else if (outcome.compared > 0) {
    std::printf("known answers: %zu agree, lowest cosine %.7f\n", outcome.compared, outcome.worst_cosine);
  } else {
    std::printf("known answers: none to compare with; %zu texts gave finite vectors of norm 1%s\n", outcome.embedded,
                outcome.embedded > 1 ? ", none of the later ones equal to the first" : "");
  }
  if (outcome.left_out > 0)
    std::printf("known answers: %zu left out, longer than the context length\n", outcome.left_out);
}

Result<bool> verify(const VerifyOptions& options) {
  auto files = read_model_folder(options.model);
  if (!files) return files.error();
  auto stack = load_model(*files, options.model);
  if (!stack) return stack.error();
  const ModelFolder& model = (*stack)->folder();
  Engine engine({(*stack)->scheduler_config()}, {(*stack)->replica()});
  std::printf("model %s in %s, %s on %s (%s)\n", model.name.c_str(), model.dir.c_str(),
              std::string((*stack)->dtype_name()).c_str(), (*stack)->device().name.c_str(),
              (*stack)->device().model.c_str());

  const auto checked = check_model(**stack, engine, options.model);
  if (!checked) return checked.error();
  print_check(*checked, options.model.skip_check);
  if (!options.model.skip_check && checked->embedded == 0) return false;
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
  if (!agreed) return report_error("verify", agreed.error(), options.model.origins);
  std::printf(*agreed ? "OK\n" : "NOT OK\n");
  return *agreed ? 0 : 1;
}

}  // namespace quern
