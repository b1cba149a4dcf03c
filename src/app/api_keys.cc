#include "app/api_keys.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/ascii.h"
#include "base/excerpt.h"

namespace quern {
namespace {

constexpr size_t kKeyCharsMin = 8;

Result<void> add_key(std::string key, std::string name, int32_t priority_max, const std::string& where,
                     std::vector<ApiKey>& keys) {
  if (key.size() < kKeyCharsMin) {
    return invalid_argument(where + ": an API key has at least " + std::to_string(kKeyCharsMin) + " characters", where);
  }
  if (std::any_of(keys.begin(), keys.end(), [&](const ApiKey& known) { return known.key == key; })) {
    return invalid_argument(where + ": the same API key twice", where);
  }
  if (name.empty()) name = "key-" + std::to_string(keys.size() + 1);
  keys.push_back({std::move(key), std::move(name), priority_max});
  return {};
}

// How far a key's requests may go ahead of others; nothing given: not at all.
Result<int32_t> read_priority(const std::string& text, const std::string& where) {
  if (text.empty()) return 0;
  const int32_t most = ApiConfig().priority_max;
  const auto value = parse_integer(text, -most, most);
  if (!value) {
    return invalid_argument(where + ": the key's priority must be an integer from " + std::to_string(-most) + " to " +
                                std::to_string(most) + ", not \"" + excerpt(text) + "\"",
                            where);
  }
  return static_cast<int32_t>(*value);
}

}  // namespace

Result<std::vector<ApiKey>> read_api_keys(const std::vector<std::string>& keys, const std::string& file) {
  std::vector<ApiKey> out;
  for (const std::string& key : keys) {
    if (auto added = add_key(key, "", 0, "--api-key", out); !added) return added.error();
  }
  if (file.empty()) return out;
  std::ifstream stream(file);
  if (!stream) return invalid_argument("cannot open " + file + ": " + std::strerror(errno), "--api-key-file");
  std::string line;
  for (int number = 1; std::getline(stream, line); ++number) {
    std::istringstream words(line);
    std::string key, name, priority, more;
    words >> key >> name >> priority >> more;
    if (key.empty() || key[0] == '#') continue;
    const std::string where = file + ":" + std::to_string(number);
    // "#" begins a comment at the beginning of any word but the key.
    if (name.starts_with('#')) name = priority = more = "";
    if (priority.starts_with('#')) priority = more = "";
    if (!more.empty() && !more.starts_with('#'))
      return invalid_argument(where + ": expected KEY, NAME and PRIORITY, found more: \"" + excerpt(more) + "\"",
                              where);
    const auto priority_max = read_priority(priority, where);
    if (!priority_max) return priority_max.error();
    if (auto added = add_key(key, name, *priority_max, where, out); !added) return added.error();
  }
  // An empty file must not open the server to everyone.
  if (out.empty()) return invalid_argument(file + " holds no API key", "--api-key-file");
  return out;
}

}  // namespace quern
