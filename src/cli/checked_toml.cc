#include "cli/checked_toml.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/excerpt.h"
#include "cli/nearest.h"

namespace quern {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw CLI::ConfigError(message, CLI::ExitCodes::ConfigError); }

/// As a flag would be written; nothing of dates and tables.
std::string text_of(const toml::node& value, const std::string& place) {
  if (const auto* text = value.as_string()) return text->get();
  if (const auto* number = value.as_integer()) return std::to_string(number->get());
  if (const auto* truth = value.as_boolean()) return truth->get() ? "true" : "false";
  if (const auto* real = value.as_floating_point()) {
    char digits[32];
    return {digits, std::to_chars(digits, digits + sizeof digits, real->get()).ptr};
  }
  refuse(place + ": expected text in quotes, a number, true or false, or a list of them");
}

toml::table parse(std::istream& input, const std::string& file) {
  const std::string text(std::istreambuf_iterator<char>(input), {});
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    refuse(file + ":" + std::to_string(error.source().begin.line) + ": no TOML: " + std::string(error.description()) +
           " (text stands in quotes)");
  }
}

}  // namespace

std::vector<CLI::ConfigItem> CheckedToml::from_config(std::istream& input) const {
  const auto file = app_.get_config_ptr()->as<std::string>();
  const toml::table table = parse(input, file);
  std::vector<std::pair<toml::source_index, std::string>> keys;  // as they stand in the file
  for (const auto& [key, value] : table) keys.emplace_back(value.source().begin.line, key.str());
  std::ranges::sort(keys);

  std::vector<CLI::ConfigItem> found;
  for (const auto& [line, key] : keys) {
    const toml::node& value = *table.get(key);
    std::string place = file;
    place.append(":").append(std::to_string(line));
    const CLI::Option* option = app_.get_option_no_throw("--" + key);
    if (option == nullptr) refuse_key(place, key, value.is_table() || value.is_array_of_tables());
    CLI::ConfigItem item;
    item.name = key;
    if (const toml::array* list = value.as_array()) {
      for (const toml::node& one : *list) item.inputs.push_back(text_of(one, place));
    } else {
      item.inputs.push_back(text_of(value, place));
    }
    if (item.inputs.empty() || std::ranges::any_of(item.inputs, &std::string::empty))
      refuse(std::string(place).append(": \"").append(key).append("\" is empty; leave the key out for its default"));
    const auto [other, is_new] = places_.emplace("--" + option->get_lnames()[0], place);
    if (!is_new) {
      refuse(std::string(place)
                 .append(": \"")
                 .append(key)
                 .append("\" is another name of ")
                 .append(option->get_lnames()[0])
                 .append(", which ")
                 .append(other->second)
                 .append(" sets already"));
    }
    found.push_back(std::move(item));
  }
  return found;
}

void CheckedToml::refuse_key(const std::string& place, const std::string& key, bool is_section) const {
  std::string message = place + (is_section ? ": unknown section \"" : ": unknown key \"") + excerpt(key) + "\"";
  std::vector<std::string> known;
  for (const CLI::Option* option : app_.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back(name);
  }
  if (is_section) {
    message += "; keys stand outside of sections";
  } else if (const std::string nearest = nearest_name(key, known); !nearest.empty()) {
    message += "; did you mean " + nearest + "?";
  }
  refuse(message);
}

}  // namespace quern
