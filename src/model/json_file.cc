#include "model/json_file.h"

#include <filesystem>
#include <map>

#include "base/excerpt.h"
#include "model/folder_files.h"

namespace quern {
namespace {

using simdjson::dom::element;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr size_t kIntegerDigitsMax = 18;  // any integer of so many digits fits in 64 bits

/// The parser chooses its kernels at its first use, allocating in a noexcept function: what fails there ends the
/// process. So that happens before main(), not in the middle of a load that may run out of memory and says so.
[[maybe_unused]] const std::string kParserKernels = simdjson::get_active_implementation()->name();

/// Writes integers of more digits than 64 bits hold ("model_max_length": 1000000000000000019884624838656, which
/// transformers writes for "no limit") as floating-point numbers: the parser refuses them otherwise.
std::string widen_integers(const std::string& json) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < json.size();) {
    const char c = json[i];
    if (in_string || c < '0' || c > '9') {
      if (in_string && c == '\\' && i + 1 < json.size()) out += json[i++];
      if (c == '"') in_string = !in_string;
      out += json[i++];
      continue;
    }
    size_t end = i;
    while (end < json.size() && json[end] >= '0' && json[end] <= '9') ++end;
    out.append(json, i, end - i);
    const bool is_integer = end == json.size() || std::string_view(".eE").find(json[end]) == std::string_view::npos;
    const bool is_fraction = i > 0 && std::string_view(".eE+").find(json[i - 1]) != std::string_view::npos;
    if (is_integer && !is_fraction && end - i > kIntegerDigitsMax) out += ".0";
    i = end;
  }
  return out;
}

}  // namespace

std::optional<element> JsonView::find(std::string_view key) const {
  simdjson::dom::object object;
  if (element_.get(object) != simdjson::SUCCESS) return std::nullopt;
  std::optional<element> found;
  for (auto [name, value] : object) {
    if (name == key) found = value;
  }
  return found;
}

bool JsonView::has(std::string_view key) const {
  const auto value = find(key);
  return value && !value->is_null();
}

std::optional<std::string_view> JsonView::text(std::string_view key) const {
  const auto value = find(key);
  std::string_view out;
  if (!value || value->get(out) != simdjson::SUCCESS) return std::nullopt;
  return out;
}

std::optional<double> JsonView::number(std::string_view key) const {
  const auto value = find(key);
  double out = 0;
  if (!value || value->get(out) != simdjson::SUCCESS) return std::nullopt;
  return out;
}

std::optional<bool> JsonView::boolean(std::string_view key) const {
  const auto value = find(key);
  bool out = false;
  if (!value || value->get(out) != simdjson::SUCCESS) return std::nullopt;
  return out;
}

std::optional<JsonView> JsonView::child(std::string_view key) const {
  const auto value = find(key);
  if (!value || !value->is_object()) return std::nullopt;
  return JsonView(path_, at_ + std::string(key) + ".", *value);
}

std::vector<std::pair<std::string, element>> JsonView::members() const {
  simdjson::dom::object object;
  if (element_.get(object) != simdjson::SUCCESS) return {};
  std::map<std::string, element> last;
  for (auto [name, value] : object) last.insert_or_assign(std::string(name), value);
  return {last.begin(), last.end()};
}

Result<void> JsonView::integer(std::string_view key, int64_t low, int64_t high, int64_t& out) const {
  const auto value = find(key);
  if (!value) return {};
  int64_t number = 0;
  if (value->get(number) != simdjson::SUCCESS || number < low || number > high)
    return bad(key, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  out = number;
  return {};
}

Error JsonView::bad(std::string_view key, const std::string& expected) const {
  const auto value = find(key);
  const std::string found = value ? excerpt(simdjson::minify(*value)) : "nothing";
  return invalid_argument(*path_ + ": \"" + excerpt(at_ + std::string(key)) + "\": expected " + expected + ", found " +
                          found);
}

Result<JsonFile> JsonFile::load(const std::string& dir, const std::string& name) {
  auto bytes = read_model_file(dir, name, kBytesMax);
  if (!bytes) return bytes.error();
  JsonFile file;
  file.path_ = std::make_unique<std::string>(dir + "/" + name);
  file.parser_ = std::make_unique<simdjson::dom::parser>();
  if (bytes->compare(0, kByteOrderMark.size(), kByteOrderMark) == 0) {
    return invalid_argument(*file.path_ +
                            ": expected JSON, found a byte-order mark (EF BB BF) before it; save the file as UTF-8 "
                            "without one");
  }
  try {
    auto error = file.parser_->parse(*bytes).get(file.root_);
    if (error == simdjson::NUMBER_ERROR) error = file.parser_->parse(widen_integers(*bytes)).get(file.root_);
    if (error != simdjson::SUCCESS)
      return invalid_argument(*file.path_ + ": is not valid JSON: " + simdjson::error_message(error));
  } catch (const std::exception& error) {
    return invalid_argument(*file.path_ + ": " + error.what());
  }
  if (!file.root_.is_object() && !file.root_.is_array())
    return invalid_argument(*file.path_ + ": expected an object, found " + excerpt(simdjson::minify(file.root_)));
  return file;
}

Result<std::optional<JsonFile>> JsonFile::load_if_present(const std::string& dir, const std::string& name) {
  const auto present = is_present(dir + "/" + name);
  if (!present) return present.error();
  if (!*present) {
    // A link to nothing is a download that did not finish, not a file that the model does not have.
    std::error_code ignored;
    if (std::filesystem::is_symlink(dir + "/" + name, ignored)) return missing_file(dir, name);
    return std::optional<JsonFile>();
  }
  auto file = load(dir, name);
  if (!file) return file.error();
  return std::optional<JsonFile>(std::move(*file));
}

std::optional<simdjson::dom::array> JsonFile::root_array() const {
  simdjson::dom::array array;
  if (root_.get(array) != simdjson::SUCCESS) return std::nullopt;
  return array;
}

bool is_off(element value) {
  switch (value.type()) {
    case simdjson::dom::element_type::NULL_VALUE:
      return true;
    case simdjson::dom::element_type::BOOL:
      return !value.get_bool().value_unsafe();
    case simdjson::dom::element_type::INT64:
      return value.get_int64().value_unsafe() == 0;
    case simdjson::dom::element_type::UINT64:
      return value.get_uint64().value_unsafe() == 0;
    case simdjson::dom::element_type::DOUBLE:
      return value.get_double().value_unsafe() == 0;
    case simdjson::dom::element_type::STRING:
      return value.get_string().value_unsafe().empty();
    case simdjson::dom::element_type::ARRAY:
      return simdjson::dom::array(value).size() == 0;
    case simdjson::dom::element_type::OBJECT:
      return simdjson::dom::object(value).size() == 0;
  }
  return false;
}

}  // namespace quern
