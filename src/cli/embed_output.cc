#include "cli/embed_output.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace quern {
namespace {

constexpr size_t kNpyHeaderBytes = 128;

std::string done_path(const std::string& output) { return output + ".done"; }
std::string progress_path(const std::string& output) { return output + ".progress"; }

/// Of a file beside the output, which holds a few lines: no more than that, whatever it is.
std::string read_file(const std::string& path) {
  constexpr std::streamsize kBytesMax = 64 * 1024;
  std::ifstream file(path, std::ios::binary);
  std::string text(kBytesMax, '\0');
  file.read(text.data(), kBytesMax);
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

/// Bytes and count of the complete lines of a file; what follows the last '\n' was cut short.
std::pair<int64_t, int64_t> complete_lines(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> buffer(1 << 20);
  int64_t offset = 0, complete_bytes = 0, lines = 0;
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), file.gcount() > 0) {
    for (std::streamsize i = 0; i < file.gcount(); ++i) {
      if (buffer[static_cast<size_t>(i)] != '\n') continue;
      ++lines;
      complete_bytes = offset + i + 1;
    }
    offset += file.gcount();
  }
  return {complete_bytes, lines};
}

}  // namespace

Result<OutputWriter> OutputWriter::open(const OutputOptions& options) {
  OutputWriter writer;
  writer.options_ = options;
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
  if (options.path == "-") {
    if (writer.npy_)
      return invalid_argument("a .npy file cannot be written to stdout; name a file with --output", "--output");
    writer.file_.reset(stdout);
    return writer;
  }
  if (auto opened = writer.open_file(); !opened) return opened.error();
  return writer;
}

Result<void> OutputWriter::open_file() {
  const std::string& path = options_.path;
  std::error_code failed;
  const bool exists = std::filesystem::exists(path, failed);
  if (failed) return invalid_argument("cannot look at " + path + ": " + failed.message(), "--output");
  const bool interrupted = exists && std::filesystem::exists(progress_path(path), failed);
  if (std::filesystem::is_directory(path, failed))
    return invalid_argument(path + ": expected a file, found a folder", "--output");
  regular_ = !exists || std::filesystem::is_regular_file(path, failed);
  if (exists && regular_ && !options_.overwrite) {
    if (!interrupted) return open_complete();
    const std::string before = read_file(progress_path(path));
    if (before != options_.settings) {
      return invalid_argument(path + " was begun with other settings (" + before + "; now " + options_.settings +
                                  "); use the same ones to continue it, or --overwrite it",
                              "--output");
    }
    return continue_file();
  }
  if (regular_) {
    std::filesystem::remove(done_path(path), failed);
    std::ofstream(progress_path(path), std::ios::binary) << options_.settings;
  }
  file_.reset(std::fopen(path.c_str(), "w+b"));
  if (!file_) return invalid_argument("cannot write " + path + ": " + std::strerror(errno), "--output");
  return npy_ ? write_npy_header() : Result<void>();
}

std::string OutputWriter::done_text(uint64_t input_hash) const {
  std::error_code failed;
  return options_.settings + "\noutput bytes " + std::to_string(std::filesystem::file_size(options_.path, failed)) +
         "\ninput hash " + std::to_string(input_hash) + "\n";
}

Result<void> OutputWriter::open_complete() {
  const std::string& path = options_.path;
  const std::string done = read_file(done_path(path));
  if (done.empty()) {
    return invalid_argument(path + " exists and is complete, and no " + done_path(path) +
                                " says of what; choose another --output, or --overwrite it",
                            "--output");
  }
  if (!done.starts_with(options_.settings + "\noutput bytes ")) {
    return invalid_argument(path + " exists and is complete, made with other settings (" +
                                done.substr(0, done.rfind("\noutput bytes ")) + "; now " + options_.settings +
                                "); choose another --output, or --overwrite it",
                            "--output");
  }
  done_ = done;
  return {};
}

Result<void> OutputWriter::check_input(uint64_t input_hash) const {
  if (done_ == done_text(input_hash)) return {};
  return invalid_argument(options_.path + " exists and is complete, but it or its input has changed since; choose " +
                              "another --output, or --overwrite it",
                          "--output");
}

Result<void> OutputWriter::continue_file() {
  const std::string& path = options_.path;
  std::error_code failed;
  int64_t keep_bytes = 0;
  if (npy_) {
    const auto size = static_cast<int64_t>(std::filesystem::file_size(path, failed));
    if (failed) return invalid_argument("cannot look at " + path + ": " + failed.message(), "--output");
    const int64_t row_bytes = int64_t{4} * options_.dimensions;
    rows_ = std::max<int64_t>(0, (size - static_cast<int64_t>(kNpyHeaderBytes)) / row_bytes);
    keep_bytes = static_cast<int64_t>(kNpyHeaderBytes) + rows_ * row_bytes;
  } else {
    std::tie(keep_bytes, rows_) = complete_lines(path);
  }
  std::filesystem::resize_file(path, static_cast<uintmax_t>(keep_bytes), failed);
  file_.reset(std::fopen(path.c_str(), "r+b"));
  if (failed || !file_ || std::fseek(file_.get(), 0, SEEK_END) != 0) {
    return invalid_argument("cannot continue " + path + ": " + std::strerror(errno), "--output");
  }
  return npy_ ? write_npy_header() : Result<void>();
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

Result<void> OutputWriter::write(const std::string& id_json, const std::vector<float>& row) {
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
  return {};
}

Result<void> OutputWriter::flush() {
  if (npy_) {
    if (auto written = write_npy_header(); !written) return written;
  }
  if (std::fflush(file_.get()) != 0) return write_error();
  return {};
}

Result<void> OutputWriter::close(uint64_t input_hash) {
  if (auto flushed = flush(); !flushed) return flushed;
  if (options_.path == "-" || !regular_) return {};
  if (fsync(fileno(file_.get())) != 0) return write_error();
  file_.reset();
  std::ofstream(done_path(options_.path), std::ios::binary) << done_text(input_hash);
  std::error_code ignored;
  std::filesystem::remove(progress_path(options_.path), ignored);
  return {};
}

Error OutputWriter::write_error() const {
  return internal_error("cannot write " + options_.path + ": " + std::strerror(errno) +
                        "; run the same command again to continue");
}

}  // namespace quern
