#include "cli/embed_output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <tuple>

namespace quern {
namespace {

constexpr size_t kNpyHeaderBytes = 128;

/// Bytes and count of the complete lines of a file, up to `lines_max`; what follows the last '\n' was cut short.
std::pair<int64_t, int64_t> complete_lines(const std::string& path, int64_t lines_max) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> buffer(1 << 20);
  int64_t offset = 0, complete_bytes = 0, lines = 0;
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), file.gcount() > 0) {
    for (std::streamsize i = 0; i < file.gcount() && lines < lines_max; ++i) {
      if (buffer[static_cast<size_t>(i)] != '\n') continue;
      ++lines;
      complete_bytes = offset + i + 1;
    }
    offset += file.gcount();
  }
  return {complete_bytes, lines};
}

/// The number between `before` and `after` at the head of `text`, which is cut off.
template <typename Number>
bool take_number(std::string_view& text, std::string_view before, std::string_view after, Number& number) {
  if (!text.starts_with(before)) return false;
  text.remove_prefix(before.size());
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (failed != std::errc() || !text.starts_with(after)) return false;
  text.remove_prefix(after.size());
  return true;
}

constexpr std::string_view kDoneRows = "\noutput bytes ", kBegunRows = "\nrows ", kInputHash = "\ninput hash ";

/// What of the text of a file beside the output are its settings.
std::string settings_of(const std::string& text, std::string_view behind) { return text.substr(0, text.rfind(behind)); }

}  // namespace

Result<OutputWriter> OutputWriter::open(const OutputOptions& options) {
  OutputWriter writer(options);
  const std::string& format = options.format;
  if (format != "auto" && format != "jsonl" && format != "npy") {
    return invalid_argument("--output-format is \"" + format + "\"; allowed: auto, jsonl, npy", "--output-format");
  }
  writer.npy_ = format == "npy" || (format == "auto" && std::filesystem::path(options.path).extension() == ".npy");
  const std::string ending = std::filesystem::path(options.path).extension().string();
  if (format == "auto" && options.path != "-" && !ending.empty() && ending != ".npy" && ending != ".jsonl" &&
      ending != ".ndjson") {
    return invalid_argument(options.path + ": files that end in " + ending +
                                " are not written; allowed: .jsonl, .ndjson, .npy, or any with --output-format",
                            "--output");
  }
  writer.options_.settings += writer.npy_ ? " output-format=npy" : " output-format=jsonl";
  if (auto differs = writer.check_not_input(); !differs) return differs.error();
  if (options.path == "-") {
    if (writer.npy_)
      return invalid_argument("a .npy file cannot be written to stdout; name a file with --output", "--output");
    return writer;
  }
  if (auto looked = writer.look(); !looked) return looked.error();
  return writer;
}

Result<void> OutputWriter::look() {
  const std::string& path = options_.path;
  std::error_code failed;
  const bool exists = std::filesystem::exists(path, failed);
  if (failed) return invalid_argument("cannot look at " + path + ": " + failed.message(), "--output");
  if (std::filesystem::is_directory(path, failed))
    return invalid_argument(path + ": expected a file, found a folder", "--output");
  regular_ = !exists || std::filesystem::is_regular_file(path, failed);
  if (!regular_) return {};
  const auto done = done_file_.read();
  if (!done) return done.error();
  const auto progress = progress_file_.read();
  if (!progress) return progress.error();
  const bool continues = exists && !options_.overwrite;
  if (continues && !*progress) return look_at_complete(done->value_or(""));
  if (auto writable = check_folder(); !writable) return writable;
  return continues ? look_at_begun(**progress) : Result<void>();
}

/// By whatever name: a link to it, or what stdin was opened from. A device that is both is no loss.
Result<void> OutputWriter::check_not_input() const {
  const std::string input = options_.input == "-" ? "/dev/stdin" : options_.input;
  const bool is_stdout = options_.path == "-";
  std::vector<std::string> written = {is_stdout ? "/dev/stdout" : options_.path};
  for (const SideFile* side : {&done_file_, &progress_file_}) {
    if (!is_stdout) written.insert(written.end(), {side->path(), side->path() + ".new"});
  }
  for (const std::string& path : written) {
    std::error_code none;  // not there: not the input
    if (!std::filesystem::equivalent(input, path, none) || !std::filesystem::is_regular_file(path, none)) continue;
    return invalid_argument(path + " is the input, " + (options_.input == "-" ? "stdin" : options_.input) +
                                ", and would be lost; choose another --output",
                            "--output");
  }
  return {};
}

/// Where the output and the files beside it are made.
Result<void> OutputWriter::check_folder() const {
  const std::filesystem::path parent = std::filesystem::path(options_.path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  std::error_code failed;
  if (!std::filesystem::is_directory(folder, failed)) {
    return invalid_argument(options_.path + ": there is no folder " + folder + "; make it, or choose another --output",
                            "--output");
  }
  if (::access(folder.c_str(), W_OK | X_OK) == 0) return {};
  return invalid_argument(
      "cannot write in the folder of " + options_.path + ", " + folder + ": " + std::strerror(errno), "--output");
}

Result<void> OutputWriter::look_at_complete(const std::string& done) {
  const std::string& path = options_.path;
  if (done.empty()) {
    return invalid_argument(path + " exists and is complete, and no " + done_file_.path() +
                                " says of what; choose another --output, or --overwrite it",
                            "--output");
  }
  if (!done.starts_with(options_.settings + std::string(kDoneRows))) {
    return invalid_argument(path + " exists and is complete, made with other settings (" +
                                settings_of(done, kDoneRows) + "; now " + options_.settings +
                                "); choose another --output, or --overwrite it",
                            "--output");
  }
  done_ = done;
  return {};
}

Result<void> OutputWriter::look_at_begun(const std::string& progress) {
  std::string_view rest = progress;
  if (!progress.starts_with(options_.settings + std::string(kBegunRows))) {
    return invalid_argument(options_.path + " was begun with other settings (" + settings_of(progress, kBegunRows) +
                                "; now " + options_.settings + "); use the same ones to continue it, or --overwrite it",
                            "--output");
  }
  rest.remove_prefix(options_.settings.size());
  if (!take_number(rest, kBegunRows, "", rows_) || !take_number(rest, kInputHash, "\n", input_hash_) || rows_ < 0) {
    return invalid_argument(progress_file_.path() + " is damaged, so that " + options_.path +
                                " cannot be continued; choose another --output, or --overwrite it",
                            "--output");
  }
  begun_ = true;
  return {};
}

Result<void> OutputWriter::check_begun(uint64_t input_hash) const {
  if (!begun_ || rows_ == 0 || input_hash == input_hash_) return {};
  return invalid_argument(
      "the first " + std::to_string(rows_) + " texts are not those that " + options_.path +
          " was begun with: the input has changed since; choose another --output, or --overwrite it",
      "--input");
}

Result<void> OutputWriter::begin() {
  const std::string& path = options_.path;
  if (path == "-") {
    file_.reset(stdout);
    return {};
  }
  if (begun_) return continue_file();
  if (regular_) {
    if (auto removed = done_file_.remove(); !removed) return removed;
    if (auto written = write_progress(); !written) return written;
  }
  file_.reset(std::fopen(path.c_str(), "w+b"));
  if (!file_) return invalid_argument("cannot write " + path + ": " + std::strerror(errno), "--output");
  return npy_ ? write_npy_header() : Result<void>();
}

Result<void> OutputWriter::continue_file() {
  const std::string& path = options_.path;
  std::error_code failed;
  int64_t keep_bytes = 0, rows = 0;
  if (npy_) {
    const auto size = static_cast<int64_t>(std::filesystem::file_size(path, failed));
    if (failed) return invalid_argument("cannot look at " + path + ": " + failed.message(), "--output");
    const int64_t row_bytes = int64_t{4} * options_.dimensions;
    rows = std::clamp<int64_t>((size - static_cast<int64_t>(kNpyHeaderBytes)) / row_bytes, 0, rows_);
    keep_bytes = static_cast<int64_t>(kNpyHeaderBytes) + rows * row_bytes;
  } else {
    std::tie(keep_bytes, rows) = complete_lines(path, rows_);
  }
  if (rows < rows_) {
    return invalid_argument(path + " holds " + std::to_string(rows) + " rows, but " + progress_file_.path() + " says " +
                                std::to_string(rows_) + ": it was changed since; choose another --output, " +
                                "or --overwrite it",
                            "--output");
  }
  std::filesystem::resize_file(path, static_cast<uintmax_t>(keep_bytes), failed);
  if (failed) return invalid_argument("cannot continue " + path + ": " + failed.message(), "--output");
  file_.reset(std::fopen(path.c_str(), "r+b"));
  if (!file_ || std::fseek(file_.get(), 0, SEEK_END) != 0) {
    return invalid_argument("cannot continue " + path + ": " + std::strerror(errno), "--output");
  }
  return npy_ ? write_npy_header() : Result<void>();
}

Result<void> OutputWriter::write_progress() const {
  return progress_file_.write(options_.settings + std::string(kBegunRows) + std::to_string(rows_) +
                              std::string(kInputHash) + std::to_string(input_hash_) + "\n");
}

Result<std::string> OutputWriter::done_text(uint64_t input_hash) const {
  std::error_code failed;
  const auto bytes = std::filesystem::file_size(options_.path, failed);
  if (failed) return invalid_argument("cannot look at " + options_.path + ": " + failed.message(), "--output");
  return options_.settings + std::string(kDoneRows) + std::to_string(bytes) + std::string(kInputHash) +
         std::to_string(input_hash) + "\n";
}

Result<void> OutputWriter::check_input(uint64_t input_hash) const {
  const auto now = done_text(input_hash);
  if (!now) return now.error();
  if (done_ == *now) return {};
  return invalid_argument(options_.path + " exists and is complete, but it or its input has changed since; choose " +
                              "another --output, or --overwrite it",
                          "--output");
}

Result<void> OutputWriter::write_npy_header() {
  // NumPy format 1.0: magic, version, little-endian header length, a Python dict padded with spaces, '\n'.
  std::string header = "\x93NUMPY";
  header += '\x01';
  header += '\x00';
  const size_t dict_bytes = kNpyHeaderBytes - 10;
  header += static_cast<char>(dict_bytes & 0xff);
  header += static_cast<char>(dict_bytes >> 8);
  header += "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows_) + ", " +
            std::to_string(options_.dimensions) + "), }";
  header.resize(kNpyHeaderBytes - 1, ' ');
  header += '\n';
  std::FILE* file = file_.get();
  if (std::fseek(file, 0, SEEK_SET) != 0 || std::fwrite(header.data(), 1, header.size(), file) != header.size() ||
      std::fseek(file, 0, SEEK_END) != 0) {
    return write_error();
  }
  return {};
}

Result<void> OutputWriter::write(const std::string& id_json, const std::vector<float>& row, uint64_t input_hash) {
  QUERN_CHECK(row.size() == static_cast<size_t>(options_.dimensions), "a row of another width");
  line_.clear();
  if (npy_) {
    line_.assign(reinterpret_cast<const char*>(row.data()), row.size() * sizeof(float));
  } else {
    line_ = "{\"index\":" + std::to_string(rows_);
    if (!id_json.empty()) line_ += ",\"id\":" + id_json;
    line_ += ",\"embedding\":[";
    char number[32];
    for (float value : row) {
      const auto end = std::to_chars(number, number + sizeof number, value).ptr;
      line_.append(number, end);
      line_ += ',';
    }
    line_.back() = ']';
    line_ += "}\n";
  }
  if (std::fwrite(line_.data(), 1, line_.size(), file_.get()) != line_.size()) return write_error();
  ++rows_;
  input_hash_ = input_hash;
  return {};
}

Result<void> OutputWriter::flush() {
  if (npy_) {
    if (auto written = write_npy_header(); !written) return written;
  }
  if (std::fflush(file_.get()) != 0) return write_error();
  if (!has_side_files()) return {};
  if (fsync(fileno(file_.get())) != 0) return write_error();
  return write_progress();
}

Result<void> OutputWriter::close(uint64_t input_hash) {
  if (auto flushed = flush(); !flushed) return flushed;
  if (!has_side_files()) return {};
  file_.reset();
  const auto done = done_text(input_hash);
  if (!done) return done.error();
  if (auto written = done_file_.write(*done); !written) return written;
  return progress_file_.remove();
}

Error OutputWriter::write_error() const {
  const std::string name = options_.path == "-" ? "stdout" : options_.path;
  return internal_error("cannot write " + name + ": " + std::strerror(errno) +
                        (regular_ && options_.path != "-" ? "; run the same command again to continue" : ""));
}

}  // namespace quern
