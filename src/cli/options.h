// The flags of each command: name, default, environment variable, help. One place, so that --help, QUERN_* and the TOML
// file cannot drift apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/options.h"
#include "base/result.h"

namespace quern {

struct EmbedOptions {
  ModelOptions model;
  std::string input = "-";
  std::string input_format = "auto";
  std::string output = "-";
  std::string output_format = "auto";
  std::string prompt_name;
  std::string instruction;
  int32_t dimensions = 0;  // 0: the model's full width
  bool truncate = false;
  bool overwrite = false;
};

struct TokenizeOptions {
  ModelOptions model;
  std::string text;
  bool no_special_tokens = false;
  bool decode = false;
  bool ids_only = false;
};

struct VerifyOptions {
  ModelOptions model;
};

struct BenchOptions {
  ModelOptions model;
  std::string cases = "512x8,12x32,12x1,2048x1";
  double seconds = 5;
  int in_flight = 0;
  std::string text = "How do I sort a list in Python?";
};

/// Parses argv (after the command's name) into options. Nothing when help or an error has been printed: then
/// `exit_code` says how to leave (0 or 2).
template <typename Options>
std::optional<Options> parse_options(int argc, const char* const* argv, int& exit_code);

template <>
std::optional<ServeOptions> parse_options(int argc, const char* const* argv, int& exit_code);
template <>
std::optional<EmbedOptions> parse_options(int argc, const char* const* argv, int& exit_code);
template <>
std::optional<TokenizeOptions> parse_options(int argc, const char* const* argv, int& exit_code);
template <>
std::optional<VerifyOptions> parse_options(int argc, const char* const* argv, int& exit_code);
template <>
std::optional<BenchOptions> parse_options(int argc, const char* const* argv, int& exit_code);

}  // namespace quern
