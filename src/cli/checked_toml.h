// CheckedToml: the file of --config, each of its keys known and none without a value. What is wrong is an error that
// names file and line; where() tells it of every key, for those whose value turns out wrong later.
//
// Used from one thread, while the application that it is given parses.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <istream>
#include <iterator>
#include <map>
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
    std::string text(std::istreambuf_iterator<char>(input), {});
    if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);  // Windows' editors write a byte-order mark
    std::istringstream again(text);
    auto keys = CLI::ConfigTOML::from_config(again);
    for (const CLI::ConfigItem& item : keys) {
      const std::string place = place_of(text, item.parents.empty() ? item.name : item.parents[0]);
      const CLI::Option* option = app_.get_option_no_throw("--" + item.name);
      if (!item.parents.empty() || option == nullptr) refuse(place, item);
      if (std::any_of(item.inputs.begin(), item.inputs.end(), [](const std::string& value) { return value.empty(); }))
        throw CLI::ConfigError(place + ": \"" + item.name + "\" is empty; leave the key out for its default",
                               CLI::ExitCodes::ConfigError);
      places_.emplace("--" + option->get_lnames()[0], place);
    }
    return keys;
  }

  /// "--port" -> "quern.toml:3", of the keys that were read.
  const std::map<std::string, std::string>& places() const { return places_; }

 private:
  /// "FILE:LINE" of a key or section.
  std::string place_of(const std::string& text, const std::string& name) const {
    const auto file = app_.get_config_ptr()->as<std::string>();
    std::istringstream lines(text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
      const size_t begin = line.find_first_not_of(" \t\"'[");
      if (begin == std::string::npos || line.compare(begin, name.size(), name) != 0) continue;
      const size_t end = begin + name.size();
      if (end == line.size() || std::string_view(" \t\r=.\"']").find(line[end]) != std::string_view::npos)
        return file + ":" + std::to_string(number);
    }
    return file;
  }

  [[noreturn]] void refuse(std::string message, const CLI::ConfigItem& item) const {
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
  mutable std::map<std::string, std::string> places_;
};

}  // namespace quern
