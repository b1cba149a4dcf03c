// The similarity tables that the Qwen3-Embedding model cards publish, for `quern verify` with the real weights.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace quern {

struct PublishedScores {
  std::string_view model;                               // the end of the model's name
  std::array<std::array<double, 2>, 2> query_document;  // cosine of query i with document j
};

/// Texts of the cards; queries take the model's "query" prompt.
constexpr std::array<std::string_view, 2> kPublishedQueries = {"What is the capital of China?", "Explain gravity"};
constexpr std::array<std::string_view, 2> kPublishedDocuments = {
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
    "responsible "
    "for the movement of planets around the sun."};

/// 0.6B: huggingface.co/Qwen/Qwen3-Embedding-0.6B, README. 4B, 8B: as repeated in public repositories, four digits.
constexpr std::array<PublishedScores, 3> kPublishedScores = {{
    {"Qwen3-Embedding-0.6B", {{{0.7645568251609802, 0.14142508804798126}, {0.13549736142158508, 0.5999549627304077}}}},
    {"Qwen3-Embedding-4B", {{{0.7534, 0.1147}, {0.0320, 0.6258}}}},
    {"Qwen3-Embedding-8B", {{{0.7493, 0.0751}, {0.0880, 0.6318}}}},
}};

/// The cards' scores were computed in half precision on a GPU; two such runs differ by a few thousandths.
constexpr double kPublishedTolerance = 0.01;

}  // namespace quern
