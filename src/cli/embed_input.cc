#include "cli/embed_input.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <iterator>
#include <vector>

namespace quern {
namespace {

bool ends_with(const std::string& text, std::string_view ending) {
  return text.size() >= ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

Result<InputRecord> parse_record(const std::string& line, int64_t number, const std::string& path) {
  const std::string where = path + ":" + std::to_string(number + 1) + ": ";
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(line).get(object) != simdjson::SUCCESS) return invalid_argument(where + "not a JSON object");
  std::string_view text;
  if (object["text"].get(text) != simdjson::SUCCESS && object["input"].get(text) != simdjson::SUCCESS) {
    return invalid_argument(where + "no string under \"text\" (or \"input\")");
  }
  InputRecord record{number, "", std::string(text)};
  simdjson::dom::element id;
  if (object["id"].get(id) == simdjson::SUCCESS) record.id_json = simdjson::minify(id);
  return record;
}

}  // namespace

Result<InputReader> InputReader::open(const std::string& path, const std::string& format) {
  if (format != "auto" && format != "text" && format != "jsonl") {
    return invalid_argument("--input-format is \"" + format + "\"; allowed: auto, text, jsonl", "--input-format");
  }
  InputReader reader;
  reader.path_ = path;
  reader.jsonl_ = format == "jsonl" || (format == "auto" && (ends_with(path, ".jsonl") || ends_with(path, ".ndjson")));
  if (path != "-") {
    reader.file_.open(path, std::ios::binary);
    if (!reader.file_) return invalid_argument("cannot open " + path + ": " + std::strerror(errno), "--input");
  }
  return reader;
}

std::istream& InputReader::stream() { return path_ == "-" ? std::cin : file_; }

Result<std::optional<InputRecord>> InputReader::next() {
  std::string line;
  if (!std::getline(stream(), line)) return std::optional<InputRecord>();
  if (!line.empty() && line.back() == '\r') line.pop_back();
  const int64_t number = line_++;
  if (!jsonl_) return std::optional<InputRecord>(InputRecord{number, "", std::move(line)});
  auto record = parse_record(line, number, path_);
  if (!record) return record.error();
  return std::optional<InputRecord>(std::move(*record));
}

Result<void> InputReader::skip(int64_t lines) {
  std::string line;
  for (; line_ < lines; ++line_) {
    if (!std::getline(stream(), line)) {
      return invalid_argument(path_ + " has " + std::to_string(line_) + " lines, but " + std::to_string(lines) +
                                  " were done before: it is not the input of the interrupted run",
                              "--input");
    }
  }
  return {};
}

int64_t InputReader::count_lines() const {
  if (path_ == "-") return 0;
  std::ifstream file(path_, std::ios::binary);
  std::vector<char> buffer(1 << 20);
  int64_t lines = 0;
  char last = '\n';
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), file.gcount() > 0) {
    const auto end = buffer.begin() + file.gcount();
    lines += std::count(buffer.begin(), end, '\n');
    last = *std::prev(end);
  }
  return lines + (last != '\n');
}

}  // namespace quern
