// Known answers: fixed texts and the vectors a model must give for them, stored beside the model as known_answers.json.
//
// {"texts": [{"text": "...", "prompt_name": "query" or null, "vector": [D floats]}, ...]}
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/output.h"

namespace quern {

struct KnownAnswer {
  std::string text;
  std::string prompt_name;  // empty: none
  std::vector<float> vector;
};

/// Reads known_answers.json in `model_dir`; empty when there is no such file. An Error names what is wrong in it.
Result<std::vector<KnownAnswer>> read_known_answers(const std::string& model_dir);

/// Embeds one text with a prompt; the whole path from tokens to vector. Nothing for a text that is longer than the
/// context length in force.
using EmbedText = std::function<Result<std::optional<Output>>(const std::string& text, const std::string& prompt_name)>;

struct CheckOutcome {
  size_t embedded = 0;  // texts that gave a vector; none when all are left out
  size_t compared = 0;  // of them, those with a stored vector
  size_t left_out = 0;  // longer than the context length in force
  double worst_cosine = 1.0;
};

/// The lowest cosine we accept between a stored vector (computed in f32) and ours. bf16 rounds every weight and
/// activation to 8 bits of mantissa; the bound leaves three times what was measured (TESTING.md). So does that of fp8,
/// which rounds them to 4: the 36 layers of the 4B shape with random weights gave 0.984 at the lowest.
double known_answer_cosine_min(std::string_view dtype);

/// Compares every known answer that fits. An Error names the text that is off; the vectors are also checked to be
/// finite, of norm 1, and none of the later ones equal to the first, which needs no stored answer.
Result<CheckOutcome> check_known_answers(const std::vector<KnownAnswer>& answers, double cosine_min,
                                         const EmbedText& embed);

}  // namespace quern
