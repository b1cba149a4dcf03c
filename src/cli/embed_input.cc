#include "cli/embed_input.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "api/json_reader.h"
#include "base/ascii.h"
#include "base/excerpt.h"

namespace quern {
namespace {

constexpr std::string_view kBom = "\xEF\xBB\xBF";

bool is_blank(const std::string& line) { return line.find_first_not_of(" \t\r") == std::string::npos; }

/// What turns a file of that ending into JSON Lines; "" where no such line is known.
std::string conversion(const std::string& ending, const std::string& path) {
  const std::string read = ending == ".parquet" ? "read_parquet" : ending == ".json" ? "" : "read_csv";
  const std::string separator = ending == ".tsv" ? ", sep='\\t'" : "";
  if (ending == ".json") return "jq -c '.[]' " + path + " > texts.jsonl";
  if (ending == ".gz") return "zcat " + path + " | quern embed --input-format text";
  if (ending == ".zst") return "zstdcat " + path + " | quern embed --input-format text";
  if (ending != ".csv" && ending != ".tsv" && ending != ".parquet") return "";
  return "python3 -c \"import pandas; pandas." + read + "('" + path + "'" + separator +
         ").to_json('texts.jsonl', orient='records', lines=True)\"";
}

Error unknown_ending(const std::string& ending, const std::string& path) {
  const std::string command = conversion(ending, path);
  std::string message = path + ": files that end in " + ending + " are not read; ";
  if (!command.empty()) message += "make JSON Lines of it, objects with \"text\": " + command + "; ";
  return invalid_argument(message + "allowed: .txt, .text, .jsonl, .ndjson, or any with --input-format text or jsonl",
                          "--input");
}

Result<void> check_text(const std::string& line, const std::string& where) {
  if (const size_t nul = line.find('\0'); nul != std::string::npos) {
    return invalid_argument(where + "a NUL byte at byte " + std::to_string(nul + 1) +
                            " of the line: not a text file, or one in UTF-16");
  }
  if (const size_t valid = valid_utf8_bytes(line); valid != line.size()) {
    return invalid_argument(where + "not UTF-8 at byte " + std::to_string(valid + 1) +
                            " of the line; convert it: iconv -f ENCODING -t UTF-8");
  }
  return {};
}

/// The fields of a record that are used, as they stand in its line.
struct RecordFields {
  std::optional<JsonString> text, input;  // the first of that name that is a string
  std::string id_json;
};

bool read_field(JsonReader& reader, std::string_view key, const std::string& line, RecordFields& fields) {
  JsonKind kind = JsonKind::kNull;
  if (!reader.peek(kind)) return false;
  const size_t begin = reader.position();
  std::optional<JsonString>* const string = key == "text" ? &fields.text : key == "input" ? &fields.input : nullptr;
  if (string != nullptr && kind == JsonKind::kString && !*string) return reader.read_string(string->emplace());
  if (!reader.skip()) return false;
  if (key == "id" && fields.id_json.empty()) {
    fields.id_json = line.substr(begin, reader.position() - begin);
    // One stands only between tokens, and might be taken for the end of the output's line.
    std::replace(fields.id_json.begin(), fields.id_json.end(), '\r', ' ');
  }
  return true;
}

/// Unescapes `line` in place.
Result<InputRecord> parse_record(std::string& line, int64_t number, const std::string& where) {
  constexpr int kDepthMax = 1024;
  const std::string what = where + "the line";
  JsonReader reader(line, kDepthMax, what);
  JsonKind kind = JsonKind::kNull;
  if (!reader.peek(kind)) return reader.error();
  if (kind == JsonKind::kArray)
    return invalid_argument(where + "a JSON array, expected one object a line: jq -c '.[]' FILE > texts.jsonl");
  RecordFields fields;
  if (kind == JsonKind::kObject) {
    reader.each_field([&](const JsonString& key) { return read_field(reader, reader.text(key), line, fields); });
  } else {
    reader.skip();
  }
  if (reader.ok()) reader.read_end();
  if (!reader.ok()) return reader.error();
  if (kind != JsonKind::kObject) return invalid_argument(where + "not a JSON object");
  const std::optional<JsonString>& text = fields.text ? fields.text : fields.input;
  if (!text) return invalid_argument(where + "no string under \"text\" (or \"input\")");
  if (text->size == 0) return invalid_argument(where + "the text is empty; at least one character is needed");
  return InputRecord{number, std::move(fields.id_json), std::string(reader.text(*text)), 0};
}

}  // namespace

Result<InputReader> InputReader::open(const std::string& path, const std::string& format) {
  if (format != "auto" && format != "text" && format != "jsonl") {
    return invalid_argument("\"" + excerpt(format) + "\"; allowed: auto, text, jsonl", "--input-format");
  }
  InputReader reader;
  reader.path_ = path;
  const std::string ending = to_lower(std::filesystem::path(path).extension().string());
  reader.jsonl_ = format == "jsonl" || (format == "auto" && (ending == ".jsonl" || ending == ".ndjson"));
  if (path == "-") return reader;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return invalid_argument(path + ": expected a file, found a folder", "--input");
  if (format == "auto" && !reader.jsonl_ && !ending.empty() && ending != ".txt" && ending != ".text")
    return unknown_ending(ending, path);
  reader.file_.open(path, std::ios::binary);
  if (!reader.file_) return invalid_argument("cannot open " + path + ": " + std::strerror(errno), "--input");
  return reader;
}

std::istream& InputReader::stream() { return path_ == "-" ? std::cin : file_; }

bool InputReader::read_line(std::string& line, uint64_t* hash) {
  while (std::getline(stream(), line)) {
    if (hash != nullptr) {
      for (const char c : line) *hash = (*hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
      *hash = (*hash ^ '\n') * 0x100000001b3;
    }
    if (line_++ == 0 && line.starts_with(kBom)) line.erase(0, kBom.size());
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!jsonl_ || !is_blank(line)) return true;
  }
  return false;
}

Result<void> InputReader::check_end() {
  if (!stream().bad() && (path_ != "-" || std::ferror(stdin) == 0)) return {};
  return internal_error("cannot read " + (path_ == "-" ? "stdin" : path_) + ": " + std::strerror(errno));
}

Result<std::optional<InputRecord>> InputReader::next() {
  std::string line;
  if (!read_line(line, &hash_)) {
    if (auto ended = check_end(); !ended) return ended.error();
    return std::optional<InputRecord>();
  }
  auto record = check_record(std::move(line));
  if (record) (*record)->input_hash = hash_;
  return record;
}

/// Of the line that was read last.
Result<std::optional<InputRecord>> InputReader::check_record(std::string line) const {
  const int64_t number = line_ - 1;
  const std::string where = path_ + ":" + std::to_string(line_) + ": ";
  if (number == 0 && (line.starts_with("\xFF\xFE") || line.starts_with("\xFE\xFF")))
    return invalid_argument(where + "in UTF-16, expected UTF-8: iconv -f UTF-16 -t UTF-8", "");
  if (auto checked = check_text(line, where); !checked) return checked.error();
  if (!jsonl_) return std::optional<InputRecord>(InputRecord{number, "", std::move(line), 0});
  auto record = parse_record(line, number, where);
  if (!record) return record.error();
  return std::optional<InputRecord>(std::move(*record));
}

Result<void> InputReader::skip(int64_t records) {
  std::string line;
  for (int64_t done = 0; done < records; ++done) {
    if (!read_line(line, &hash_)) {
      if (auto ended = check_end(); !ended) return ended;
      return invalid_argument(path_ + " has " + std::to_string(done) + " texts, but " + std::to_string(records) +
                                  " were done before: it is not the input of the interrupted run",
                              "--input");
    }
  }
  return {};
}

Result<void> InputReader::skip_rest() {
  for (std::string line; read_line(line, &hash_);) {
  }
  return check_end();
}

int64_t InputReader::count_records() const {
  std::error_code ignored;
  if (path_ == "-" || !std::filesystem::is_regular_file(path_, ignored)) return 0;
  InputReader other;
  other.path_ = path_;
  other.jsonl_ = jsonl_;
  other.file_.open(path_, std::ios::binary);
  int64_t records = 0;
  for (std::string line; other.read_line(line, nullptr);) ++records;
  return records;
}

}  // namespace quern
