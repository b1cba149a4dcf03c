#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "app/model_stack.h"
#include "cli/commands.h"
#include "cli/report.h"

namespace quern {
namespace {

/// A piece on one line: control characters and backslashes escaped, other text as it is.
std::string printable(std::string_view piece) {
  std::string out;
  for (char c : piece) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\\') {
      out += "\\\\";
    } else if (byte < 0x20 || byte == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
      out += escaped;
    } else {
      out += c;
    }
  }
  return out;
}

Result<void> print_ids(const Tokenizer& tokenizer, const std::string& text, const TokenizeOptions& options) {
  EncodeOptions encode_options;
  encode_options.add_special_tokens = !options.no_special_tokens;
  const auto ids = tokenizer.encode(text, encode_options);
  if (!ids) return ids.error();
  if (options.ids_only) {
    const char* separator = "";
    for (int32_t id : *ids) std::printf("%s%d", std::exchange(separator, " "), id);
    std::printf("\n");
    return {};
  }
  for (int32_t id : *ids) {
    std::printf("%7d  %s\n", id, printable(tokenizer.id_to_token(id).value_or("")).c_str());
  }
  std::printf("%zu tokens\n", ids->size());
  return {};
}

Result<void> print_text(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int32_t> ids;
  std::istringstream words(text);
  std::string word;
  while (words >> word) {
    char* end = nullptr;
    const long id = std::strtol(word.c_str(), &end, 10);
    if (*end != '\0' || id < 0 || static_cast<size_t>(id) >= tokenizer.vocab_size()) {
      return invalid_argument(
          "\"" + word + "\" is not a token id; allowed: 0 to " + std::to_string(tokenizer.vocab_size() - 1), "text");
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  const auto decoded = tokenizer.decode(ids, /*skip_special=*/false);
  if (!decoded) return decoded.error();
  std::printf("%s\n", decoded->c_str());
  return {};
}

}  // namespace

int tokenize_command(const TokenizeOptions& options) {
  const auto files = read_model_folder(options.model, false);
  if (!files) return report_error("tokenize", files.error(), options.model.origins);
  const auto handle = [&](const std::string& text) {
    return options.decode ? print_text(*files->tokenizer, text) : print_ids(*files->tokenizer, text, options);
  };
  if (!options.text.empty()) {
    const auto done = handle(options.text);
    return done ? 0 : report_error("tokenize", done.error(), options.model.origins);
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    if (const auto done = handle(line); !done) return report_error("tokenize", done.error(), options.model.origins);
  }
  return 0;
}

}  // namespace quern
