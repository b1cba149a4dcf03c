// CheckedToml: the file of --config, each of its keys known, named once and with a value. What is wrong is an error
// that names file and line; places() tells them of every key, for those whose value turns out wrong later.
//
// Read by toml++, since CLI11's own reader takes a '#' inside of quotes for a comment. Used from one thread, while the
// application that it is given parses.
#pragma once

#include <CLI/CLI.hpp>
#include <istream>
#include <map>
#include <string>
#include <vector>

namespace quern {

class CheckedToml : public CLI::ConfigTOML {
 public:
  explicit CheckedToml(const CLI::App& app) : app_(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;

  /// "--port" -> "quern.toml:3", of the keys that were read.
  const std::map<std::string, std::string>& places() const { return places_; }

 private:
  [[noreturn]] void refuse_key(const std::string& place, const std::string& key, bool is_section) const;

  const CLI::App& app_;
  mutable std::map<std::string, std::string> places_;
};

}  // namespace quern
