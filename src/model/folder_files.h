// The files of a model folder as they lie on the disk: there, missing, or half there. Reads only; any thread.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace quern {

/// Whether there is such a file or folder. An Error where that cannot be told (no permission, an I/O error).
Result<bool> is_present(const std::string& path);

/// The Error for a file that a model needs and that is not there: says so if a download of it was broken off.
Error missing_file(const std::string& dir, const std::string& name);

/// Refuses by name a file that is missing, unreadable, empty, no regular file, or a Git LFS pointer in its place. Never
/// waits for one.
Result<void> check_file(const std::string& dir, const std::string& name);

/// The whole file. Refuses as check_file() does, and what is longer than `bytes_max`.
Result<std::string> read_model_file(const std::string& dir, const std::string& name, size_t bytes_max);

/// The names of the weights' files: model.safetensors, or every shard that model.safetensors.index.json names. They are
/// all there, as check_file() has it, and no adapter is beside them. Reads no weights.
Result<std::vector<std::string>> weight_files(const std::string& dir);

}  // namespace quern
