// OutputWriter: the vectors of `quern embed`, in input order, as JSON Lines or .npy; continues an interrupted file.
//
// While a run is under way OUTPUT.progress stands beside OUTPUT and holds the run's settings; when it is complete
// OUTPUT.done does, with the settings, the input's hash and the output's size. Every row written before a kill -9 is
// kept; a row cut short is dropped and made again. Used from one thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace quern {

struct OutputOptions {
  std::string path = "-";       // "-" is stdout (JSON Lines only)
  std::string format = "auto";  // auto (by the name's ending), jsonl, npy
  int32_t dimensions = 0;       // width D of every row
  bool overwrite = false;
  std::string
      settings;  // one line that names all that the vectors depend on; a run continues only under the same settings
};

class OutputWriter {
 public:
  /// An Error names the flag to change when the output exists already, or belongs to a run with other settings.
  static Result<OutputWriter> open(const OutputOptions& options);

  /// Rows a previous run has finished: the caller passes over as many inputs.
  int64_t rows() const { return rows_; }

  Result<void> write(const std::string& id_json, const std::vector<float>& row);
  Result<void> flush();
  /// Flushes, writes OUTPUT.done and removes OUTPUT.progress: the run is complete.
  Result<void> close(uint64_t input_hash);

  /// The output was complete before this run, under the same settings; nothing may be written.
  bool was_complete() const { return !done_.empty(); }
  /// An Error when the output that was complete had another input.
  Result<void> check_input(uint64_t input_hash) const;

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const {
      if (file != stdout) std::fclose(file);
    }
  };

  OutputWriter() = default;
  Result<void> open_file();
  Result<void> continue_file();
  Result<void> open_complete();
  std::string done_text(uint64_t input_hash) const;
  Result<void> write_npy_header();
  Error write_error() const;

  OutputOptions options_;
  bool npy_ = false;
  bool regular_ = true;  // a device or a pipe has no files beside it, and is never complete
  std::string done_;     // what OUTPUT.done holds, of an output that was complete
  std::unique_ptr<std::FILE, CloseFile> file_;
  int64_t rows_ = 0;
  std::string line_;  // reused
};

}  // namespace quern
