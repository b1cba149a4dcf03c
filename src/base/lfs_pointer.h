// What stands in a repository in place of a large file until Git LFS has fetched it. Pure functions; any thread.
#pragma once

#include <string_view>

namespace quern {

/// Bytes of a file's start that is_lfs_pointer() needs.
constexpr size_t kLfsPointerHeadBytes = 64;

/// `head` (the first bytes of a file) is that of a Git LFS pointer.
inline bool is_lfs_pointer(std::string_view head) {
  return head.substr(0, 42) == "version https://git-lfs.github.com/spec/v1";
}

/// What to say about such a file.
constexpr std::string_view kLfsPointerAdvice =
    "expected the file itself, found a Git LFS pointer to it; run `git lfs pull` in the folder, or download it again";

}  // namespace quern
