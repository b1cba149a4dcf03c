#include "cli/side_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

namespace quern {
namespace {

constexpr std::string_view kFirstLine = "quern embed\n";

struct CloseFile {
  void operator()(std::FILE* file) const { (void)std::fclose(file); }
};

Error not_ours(const std::string& path) {
  return invalid_argument(
      path + " was not written by quern embed and would be lost; move it away, or choose another " + "--output",
      "--output");
}

Error cannot(const char* what, const std::string& path, int number) {
  return internal_error(std::string("cannot ") + what + " " + path + ": " + std::strerror(number) +
                        "; run the same command again to continue");
}

/// What was renamed in the folder of `path` is on the disk; false: see errno.
bool sync_folder(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const int folder = ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return false;
  const bool done = ::fsync(folder) == 0 || errno == EINVAL;  // a file system that cannot be asked
  const int number = errno;
  ::close(folder);
  errno = number;
  return done;
}

}  // namespace

Result<std::optional<std::string>> SideFile::read() const {
  constexpr std::streamsize kBytesMax = 64 * 1024;  // no more than that, whatever it is
  std::error_code failed;
  if (!std::filesystem::exists(path_, failed)) {
    if (failed) return cannot("look at", path_, failed.value());
    return std::optional<std::string>();
  }
  if (!std::filesystem::is_regular_file(path_, failed)) return not_ours(path_);
  std::ifstream file(path_, std::ios::binary);
  if (!file) return cannot("read", path_, errno);
  std::string text(kBytesMax, '\0');
  file.read(text.data(), kBytesMax);
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.starts_with(kFirstLine)) return std::optional(text.substr(kFirstLine.size()));
  if (kFirstLine.starts_with(text)) return std::optional<std::string>("");  // cut short: nothing of anybody's is lost
  return not_ours(path_);
}

Result<void> SideFile::write(const std::string& text) const {
  const SideFile fresh(path_ + ".new");
  for (const SideFile* file : {this, &fresh}) {
    if (auto ours = file->read(); !ours) return ours.error();
  }
  if (auto written = fresh.write_new(text); !written) {
    (void)::unlink(fresh.path_.c_str());
    return written;
  }
  if (std::rename(fresh.path_.c_str(), path_.c_str()) != 0 || !sync_folder(path_)) return cannot("write", path_, errno);
  return {};
}

Result<void> SideFile::write_new(const std::string& text) const {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path_.c_str(), "wb"));
  if (!file) return cannot("write", path_, errno);
  const auto put = [&](std::string_view part) { return std::fwrite(part.data(), 1, part.size(), file.get()); };
  if (put(kFirstLine) != kFirstLine.size() || put(text) != text.size() || std::fflush(file.get()) != 0 ||
      fsync(fileno(file.get())) != 0) {
    return cannot("write", path_, errno);
  }
  return {};
}

Result<void> SideFile::remove() const {
  if (auto ours = read(); !ours) return ours.error();
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return cannot("remove", path_, errno);
  return {};
}

}  // namespace quern
