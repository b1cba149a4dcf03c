// CheckedToml: the file of --config, each of its keys known. A wrong one is an error that names file, line and the
// nearest key.
//
// Used from one thread, while the application that it is given parses.
#pragma once

#include <CLI/CLI.hpp>
#include <istream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/excerpt.h"
#include "cli/nearest.h"

namespace quern {

class CheckedToml : public CLI::ConfigTOML {
 public:
  explicit CheckedToml(const CLI::App& app) : app_(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    const std::string text(std::istreambuf_iterator<char>(input), {});
    std::istringstream again(text);
    auto keys = CLI::ConfigTOML::from_config(again);
    for (const CLI::ConfigItem& item : keys) {
      if (!item.parents.empty() || app_.get_option_no_throw("--" + item.name) == nullptr) refuse(text, item);
    }
    return keys;
  }

 private:
  [[noreturn]] void refuse(const std::string& text, const CLI::ConfigItem& item) const {
    std::string message = app_.get_config_ptr()->as<std::string>();
    std::istringstream lines(text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
      const size_t begin = line.find_first_not_of(" \t\"'");
      if (begin == std::string::npos || line.compare(begin, item.name.size(), item.name) != 0) continue;
      const size_t end = begin + item.name.size();
      if (end < line.size() && std::string_view(" \t=.\"'").find(line[end]) == std::string_view::npos) continue;
      message += ":" + std::to_string(number);
      break;
    }
    message += item.parents.empty() ? ": unknown key \"" + excerpt(item.name) + "\""
                                    : ": unknown section \"" + excerpt(item.parents[0]) + "\"";
    std::vector<std::string> known;
    for (const CLI::Option* option : app_.get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back(name);
    }
    if (!item.parents.empty()) {
      message += "; keys stand outside of sections";
    } else if (const std::string nearest = nearest_name(item.name, known); !nearest.empty()) {
      message += "; did you mean " + nearest + "?";
    }
    throw CLI::ConfigError(message, CLI::ExitCodes::ConfigError);
  }

  const CLI::App& app_;
};

}  // namespace quern
