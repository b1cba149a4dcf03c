#include "cli/api_keys.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace quern {
namespace {

constexpr size_t kKeyCharsMin = 8;

Result<void> add_key(std::string key, std::string tenant, const std::string& where, std::vector<ApiKey>& keys) {
  if (key.size() < kKeyCharsMin) {
    return invalid_argument(where + ": an API key has at least " + std::to_string(kKeyCharsMin) + " characters", where);
  }
  if (std::any_of(keys.begin(), keys.end(), [&](const ApiKey& known) { return known.key == key; })) {
    return invalid_argument(where + ": the same API key twice", where);
  }
  if (tenant.empty()) tenant = "key-" + std::to_string(keys.size() + 1);
  keys.push_back({std::move(key), std::move(tenant)});
  return {};
}

}  // namespace

Result<std::vector<ApiKey>> read_api_keys(const std::vector<std::string>& keys, const std::string& file) {
  std::vector<ApiKey> out;
  for (const std::string& key : keys) {
    if (auto added = add_key(key, "", "--api-key", out); !added) return added.error();
  }
  if (file.empty()) return out;
  std::ifstream stream(file);
  if (!stream) return invalid_argument("cannot open " + file + ": " + std::strerror(errno), "--api-key-file");
  std::string line;
  for (int number = 1; std::getline(stream, line); ++number) {
    std::istringstream words(line);
    std::string key, tenant;
    words >> key >> tenant;
    if (key.empty() || key[0] == '#') continue;
    if (auto added = add_key(key, tenant, file + ":" + std::to_string(number), out); !added) return added.error();
  }
  // An empty file must not open the server to everyone.
  if (out.empty()) return invalid_argument(file + " holds no API key", "--api-key-file");
  return out;
}

}  // namespace quern
