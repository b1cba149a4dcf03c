#include "app/machine.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

namespace quern {
namespace {

// Version 1 writes "no limit" as a number near 2^63.
constexpr int64_t kUnlimited = int64_t{1} << 60;

std::optional<int64_t> read_number(const std::string& path) {
  std::ifstream in(path);
  int64_t number = 0;
  if (!(in >> number) || number < 0 || number >= kUnlimited) return std::nullopt;  // "max" is no number
  return number;
}

/// The value behind `key` in a file of lines "key value"; /proc/meminfo's keys end in ':'.
std::optional<int64_t> read_field(const std::string& path, const std::string& key) {
  std::ifstream in(path);
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string name;
    int64_t value = 0;
    if (words >> name >> value && name == key) return value;
  }
  return std::nullopt;
}

/// One control group's folder and the names that its version gives the files.
struct Group {
  std::string folder;
  bool v2 = true;
};

/// "/a/b" -> "/a/b", "/a", "": the group and those above it, whose limits hold too.
std::vector<std::string> with_parents(std::string path) {
  std::vector<std::string> paths;
  while (!path.empty() && path != "/") {
    paths.push_back(path);
    path.resize(path.find_last_of('/'));
  }
  paths.emplace_back("");
  return paths;
}

/// The groups that limit `controller`, read off /proc/self/cgroup ("4:memory:/a/b" or "0::/a/b").
std::vector<Group> groups_of(const std::string& root, const std::string& controller) {
  std::vector<Group> groups;
  std::ifstream in(root + "proc/self/cgroup");
  std::string line;
  while (std::getline(in, line)) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || line[second + 1] != '/') continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool v2 = names == ",,";
    if (!v2 && names.find("," + controller + ",") == std::string::npos) continue;
    const std::string base = root + "sys/fs/cgroup" + (v2 ? "" : "/" + controller);
    for (const std::string& path : with_parents(line.substr(second + 1))) groups.push_back({base + path, v2});
  }
  return groups;
}

/// Whole cores of one group's quota, nothing where there is none.
std::optional<int64_t> quota_cpus(const Group& group) {
  int64_t quota = 0, period = 0;
  if (group.v2) {
    std::ifstream in(group.folder + "/cpu.max");
    if (!(in >> quota >> period)) return std::nullopt;  // "max 100000"
  } else {
    quota = read_number(group.folder + "/cpu.cfs_quota_us").value_or(0);
    period = read_number(group.folder + "/cpu.cfs_period_us").value_or(0);
  }
  if (quota <= 0 || period <= 0) return std::nullopt;
  return std::max<int64_t>(1, quota / period);
}

/// What one group's limit leaves; its inactive page cache can be given back.
std::optional<int64_t> memory_left(const Group& group) {
  const auto limit = read_number(group.folder + (group.v2 ? "/memory.max" : "/memory.limit_in_bytes"));
  if (!limit) return std::nullopt;
  const int64_t used =
      read_number(group.folder + (group.v2 ? "/memory.current" : "/memory.usage_in_bytes")).value_or(0);
  const int64_t cache =
      read_field(group.folder + "/memory.stat", group.v2 ? "inactive_file" : "total_inactive_file").value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, used - cache));
}

int32_t affinity_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

MachineLimits read_machine_limits(const std::string& root) {
  MachineLimits limits;
  limits.cpus = affinity_cpus();
  for (const Group& group : groups_of(root, "cpu")) {
    if (const auto cpus = quota_cpus(group)) limits.cpus = static_cast<int32_t>(std::min<int64_t>(limits.cpus, *cpus));
  }
  const auto available_kb = read_field(root + "proc/meminfo", "MemAvailable:");
  limits.memory_available_bytes = available_kb ? *available_kb * 1024 : std::numeric_limits<int64_t>::max();
  limits.memory_source = "MemAvailable";
  for (const Group& group : groups_of(root, "memory")) {
    const auto left = memory_left(group);
    if (!left || *left >= limits.memory_available_bytes) continue;
    limits.memory_available_bytes = *left;
    limits.memory_source = group.folder;
  }
  std::error_code ignored;
  // A container that was given one card shows it by the number that it has on the host.
  constexpr int kCardsMax = 64;
  limits.has_gpu = std::filesystem::exists(root + "dev/dxg", ignored);
  for (int card = 0; card < kCardsMax && !limits.has_gpu; ++card)
    limits.has_gpu = std::filesystem::exists(root + "dev/nvidia" + std::to_string(card), ignored);
  return limits;
}

}  // namespace quern
