// Safetensors: the tensors of a checkpoint, one file or many shards, mapped into memory.
//
// Owns the mappings; a tensor's data points into them, aligned or not, as the format does not ask for it. Every offset,
// shape and length is checked before a pointer is handed out, so that no header can make a read leave its file. Tensors
// of every dtype of the format are here; whoever uses one checks that it is of the kind it can read. A file that is cut
// while it is mapped ends the process (SIGBUS): keep this object for loading only. Read-only after open(); any thread.
// Format: https://github.com/huggingface/safetensors (u64 header length, JSON header, data).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/dtype.h"

namespace quern {

struct Tensor {
  const void* data = nullptr;
  std::optional<DType> dtype;  // none: stored in a format that nothing here computes from
  std::string stored_as;       // as written: "F32", "I64", ...
  std::vector<int64_t> shape;
  size_t bytes = 0;
  std::string file;  // for messages
};

/// Where the tensors of one file lie, without their data. Offsets are relative to the start of the file.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as written; one that the format knows
  std::vector<int64_t> shape;
  size_t begin = 0;
  size_t end = 0;
};

/// Checks and reads the header in the first bytes of a file of `file_bytes` bytes. `file` names it in errors.
Result<std::vector<SafetensorsEntry>> parse_safetensors_header(std::string_view bytes, size_t file_bytes,
                                                               const std::string& file);

class Safetensors {
 public:
  /// Maps the files of these names in `model_dir`: one, or all shards.
  static Result<Safetensors> open(const std::string& model_dir, const std::vector<std::string>& names);

  /// Null when there is none of this name.
  const Tensor* find(const std::string& name) const;
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  const std::string& path() const { return path_; }
  /// Lets the kernel take back the tensor's resident pages; reading it again brings them back.
  static void drop_pages(const Tensor& tensor);

 private:
  struct Mapping {
    ~Mapping();
    void* data = nullptr;
    size_t bytes = 0;
  };
  Result<void> map_file(const std::string& path);

  std::vector<std::unique_ptr<Mapping>> mappings_;
  std::map<std::string, Tensor> tensors_;
  std::string path_;
};

}  // namespace quern
