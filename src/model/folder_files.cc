#include "model/folder_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "base/lfs_pointer.h"
#include "model/json_file.h"

namespace quern {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

Error cannot_read(const std::string& path, int error) {
  return invalid_argument(path + ": cannot be read: " + std::strerror(error));
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  return "a device";
}

/// A file that downloaders leave behind when they are broken off, for `name` or, where they name it by its hash, any.
std::string unfinished_download(const std::string& dir, const std::string& name) {
  std::error_code ignored;
  for (const char* ending : {".incomplete", ".part", ".aria2", ".crdownload"}) {
    std::string partial = dir;
    partial.append("/").append(name).append(ending);
    if (std::filesystem::exists(partial, ignored)) return partial;
  }
  for (const std::string& place : {dir + "/.cache/huggingface/download", dir + "/../../blobs"}) {
    for (std::filesystem::directory_iterator at(place, ignored), end; !ignored && at != end; at.increment(ignored)) {
      if (at->path().extension() == ".incomplete") return at->path().lexically_normal().string();
    }
  }
  return "";
}

/// A file of the model that is there, regular, not empty and not a Git LFS pointer: what is read is what was checked.
class OpenFile {
 public:
  static Result<OpenFile> open(const std::string& dir, const std::string& name);
  OpenFile(OpenFile&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }

  /// From the start; refused when it is longer than `bytes_max`.
  Result<std::string> read(size_t bytes_max) const;

 private:
  OpenFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
};

Result<OpenFile> OpenFile::open(const std::string& dir, const std::string& name) {
  const std::string path = dir + "/" + name;
  // Without O_NONBLOCK, to open a FIFO is to wait for somebody who writes into it.
  OpenFile file(path, ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.fd_ < 0) return errno == ENOENT ? missing_file(dir, name) : cannot_read(path, errno);
  struct stat status {};
  if (fstat(file.fd_, &status) != 0) return cannot_read(path, errno);
  if (!S_ISREG(status.st_mode)) return invalid_argument(path + ": expected a file, found " + kind_of(status.st_mode));
  char head[kLfsPointerHeadBytes];
  const ssize_t got = ::pread(file.fd_, head, sizeof head, 0);
  if (got < 0) return cannot_read(path, errno);
  if (is_lfs_pointer({head, static_cast<size_t>(got)}))
    return invalid_argument(path + ": " + std::string(kLfsPointerAdvice));
  if (got == 0) return invalid_argument(path + ": is empty; download it again");
  return file;
}

Result<std::string> OpenFile::read(size_t bytes_max) const {
  struct stat status {};
  if (fstat(fd_, &status) != 0) return cannot_read(path_, errno);
  const auto size = static_cast<size_t>(status.st_size);
  if (size > bytes_max)
    return invalid_argument(path_ + ": has " + std::to_string(size) + " bytes; allowed: " + std::to_string(bytes_max));
  std::string bytes(size, '\0');
  size_t have = 0;
  while (have < size) {
    const ssize_t got = ::pread(fd_, bytes.data() + have, size - have, static_cast<off_t>(have));
    if (got < 0) return cannot_read(path_, errno);
    if (got == 0) break;  // it was cut meanwhile
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

Result<std::vector<std::string>> read_index(const std::string& dir) {
  auto index = JsonFile::load(dir, kIndex);
  if (!index) return index.error();
  const JsonView root = index->root();
  simdjson::dom::object map;
  const auto value = root.find("weight_map");
  if (!value || value->get(map) != simdjson::SUCCESS)
    return root.bad("weight_map", "an object of tensor names and file names");
  std::set<std::string> shards;
  for (const auto& [tensor, name] : map) {
    std::string_view shard;
    if (name.get(shard) != simdjson::SUCCESS || shard.empty() || shard == "." || shard == ".." ||
        shard.find_first_of(std::string_view("/\0", 2)) != shard.npos)
      return root.child("weight_map")->bad(tensor, "the name of a file beside the index");
    shards.emplace(shard);
  }
  return std::vector<std::string>(shards.begin(), shards.end());
}

}  // namespace

Result<bool> is_present(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return cannot_read(path, errno);
}

Error missing_file(const std::string& dir, const std::string& name) {
  const std::string path = dir + "/" + name;
  std::error_code ignored;
  std::string text = path + ": ";
  text += std::filesystem::is_symlink(path, ignored) ? "is a link to a file that is not there" : "is missing";
  const std::string partial = unfinished_download(dir, name);
  if (!partial.empty()) text += "; its download did not finish (" + partial + " is there): run it again";
  return invalid_argument(text);
}

Result<void> check_file(const std::string& dir, const std::string& name) {
  auto file = OpenFile::open(dir, name);
  return file ? Result<void>() : Result<void>(file.error());
}

Result<std::string> read_model_file(const std::string& dir, const std::string& name, size_t bytes_max) {
  auto file = OpenFile::open(dir, name);
  if (!file) return file.error();
  return file->read(bytes_max);
}

Result<std::vector<std::string>> weight_files(const std::string& dir) {
  // sentence-transformers and transformers would load the adapter over the weights.
  const auto adapter = is_present(dir + "/adapter_config.json");
  if (!adapter) return adapter.error();
  if (*adapter) {
    return invalid_argument(dir +
                            "/adapter_config.json: an adapter is not implemented; merge it into the model "
                            "(merge_and_unload) and save that");
  }
  const auto single = is_present(dir + "/model.safetensors");
  if (!single) return single.error();
  const auto index = is_present(dir + "/" + kIndex);
  if (!index) return index.error();
  std::vector<std::string> files;
  if (*single) {
    files.push_back("model.safetensors");
  } else if (*index) {
    auto shards = read_index(dir);
    if (!shards) return shards.error();
    files = std::move(*shards);
  }
  for (const std::string& name : files) {
    if (auto checked = check_file(dir, name); !checked) return checked.error();
  }
  if (*single || *index) return files;
  for (const char* other : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    const auto found = is_present(dir + "/" + other);
    if (found && *found) {
      return invalid_argument(dir + "/" + other +
                              ": expected model.safetensors, found PyTorch's own format; save the model again with "
                              "safe_serialization=True");
    }
  }
  return missing_file(dir, "model.safetensors");
}

}  // namespace quern
