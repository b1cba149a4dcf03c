// OutputWriter: the vectors of `quern embed`, in input order, as JSON Lines or .npy; continues an interrupted file.
//
// While a run is under way OUTPUT.progress stands beside OUTPUT: the run's settings, the rows that are safe, and the
// hash of the input that they came from. When it is complete OUTPUT.done does, with the settings, the whole input's
// hash and the output's size. Rows that OUTPUT.progress speaks of survive a kill -9 and a loss of power; what is behind
// them is dropped and made again. Used from one thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/side_file.h"

namespace quern {

struct OutputOptions {
  std::string path = "-";       // "-" is stdout (JSON Lines only)
  std::string format = "auto";  // auto (by the name's ending), jsonl, npy
  int32_t dimensions = 0;       // width D of every row
  bool overwrite = false;
  /// Names all else that the output depends on; a run continues only under the same settings.
  std::string settings;
  std::string input = "-";  // is never written, whatever `overwrite` says; "-" is stdin
};

class OutputWriter {
 public:
  /// Looks at what is there and changes nothing. An Error names the flag to change when the output exists already, or
  /// belongs to a run with other settings, is or would replace the input, cannot be put where it is to be, or a file
  /// beside it is somebody else's.
  static Result<OutputWriter> open(const OutputOptions& options);

  /// Rows a previous run has finished: the caller passes over as many inputs.
  int64_t rows() const { return rows_; }
  /// An Error when those rows came from another input than the one of this hash.
  Result<void> check_begun(uint64_t input_hash) const;

  /// Opens the output and makes the file beside it; before the first row.
  Result<void> begin();
  /// `input_hash`: of the input up to the end of this row's.
  Result<void> write(const std::string& id_json, const std::vector<float>& row, uint64_t input_hash);
  /// The rows so far are safe.
  Result<void> flush();
  /// Flushes, writes OUTPUT.done and removes OUTPUT.progress: the run is complete. `input_hash`: of the whole input.
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

  explicit OutputWriter(const OutputOptions& options)
      : options_(options), done_file_(options.path + ".done"), progress_file_(options.path + ".progress") {}
  bool has_side_files() const { return options_.path != "-" && regular_; }
  Result<void> check_not_input() const;
  Result<void> check_folder() const;
  Result<void> look();
  Result<void> look_at_complete(const std::string& done);
  Result<void> look_at_begun(const std::string& progress);
  Result<void> continue_file();
  Result<void> write_progress() const;
  Result<std::string> done_text(uint64_t input_hash) const;
  Result<void> write_npy_header();
  Error write_error() const;

  OutputOptions options_;
  SideFile done_file_;
  SideFile progress_file_;
  bool npy_ = false;
  bool regular_ = true;  // a device or a pipe has no files beside it, and is never complete
  bool begun_ = false;   // by a previous run, which this one continues
  std::string done_;     // what OUTPUT.done holds, of an output that was complete
  std::unique_ptr<std::FILE, CloseFile> file_;
  int64_t rows_ = 0;
  uint64_t input_hash_ = 0;  // of the input of these rows
  std::string line_;         // reused
};

}  // namespace quern
