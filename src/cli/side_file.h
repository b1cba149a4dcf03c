// SideFile: a small file beside an output of `quern embed` that says what the output is.
//
// Its first line says whose it is: a file of that name that somebody else wrote is an Error, and is neither overwritten
// nor removed. It is replaced whole or not at all, and it is on the disk when write() returns. Used from one thread.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace quern {

class SideFile {
 public:
  explicit SideFile(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }

  /// What was written; nothing when there is no such file. An Error when it is not ours.
  Result<std::optional<std::string>> read() const;
  Result<void> write(const std::string& text) const;
  Result<void> remove() const;

 private:
  Result<void> write_new(const std::string& text) const;

  std::string path_;
};

}  // namespace quern
