// Tokenizes a file and writes ids or times: the tool of tests/tokenizer.
//   tokenizer_bench ids TOKENIZER_JSON IN OUT     u32 count, then that many i32 ids, for each line of IN
//   tokenizer_bench time TOKENIZER_JSON IN RUNS   load seconds (the file is in memory), then the seconds of each run,
//   as one line of JSON
// IN holds length-prefixed texts (u32 bytes, then the bytes), so that a text may hold newlines. All little-endian.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/version.h"
#include "tokenizer/tokenizer.h"

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

std::vector<std::string> read_texts(const char* path) {
  const std::string all = read_file(path);
  std::vector<std::string> texts;
  for (size_t at = 0; at + 4 <= all.size();) {
    uint32_t size;
    std::memcpy(&size, all.data() + at, 4);
    texts.push_back(all.substr(at + 4, size));
    at += 4 + size;
  }
  return texts;
}

int write_ids(const quern::Tokenizer& tokenizer, const std::vector<std::string>& texts, const char* path) {
  std::ofstream out(path, std::ios::binary);
  for (size_t i = 0; i < texts.size(); ++i) {
    auto ids = tokenizer.encode(texts[i]);
    if (!ids) {
      std::fprintf(stderr, "text %zu: %s\n", i, ids.error().message.c_str());
      return 1;
    }
    const auto count = static_cast<uint32_t>(ids->size());
    out.write(reinterpret_cast<const char*>(&count), 4);
    out.write(reinterpret_cast<const char*>(ids->data()), count * 4L);
  }
  return out.flush() ? 0 : 1;
}

int time_runs(const quern::Tokenizer& tokenizer, const std::vector<std::string>& texts, int runs, double load_s) {
  std::printf("{\"commit\": \"%s\", \"load_s\": %.6f, \"run_s\": [", quern::kCommit, load_s);
  size_t tokens = 0;
  for (int run = 0; run < runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& text : texts) tokens += tokenizer.encode(text).value().size();
    std::printf("%s%.6f", run == 0 ? "" : ", ", seconds_since(start));
  }
  std::printf("], \"tokens\": %zu}\n", runs > 0 ? tokens / runs : 0);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc == 5 ? argv[1] : "";
  if (mode != "ids" && mode != "time") {
    std::fprintf(stderr, "usage: %s ids|time TOKENIZER_JSON IN OUT|RUNS\n", argv[0]);
    return 2;
  }
  const std::string json = read_file(argv[2]);
  const auto start = std::chrono::steady_clock::now();
  auto tokenizer = quern::Tokenizer::from_json(json, argv[2]);
  const double load_s = seconds_since(start);
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
    return 1;
  }
  const std::vector<std::string> texts = read_texts(argv[3]);
  return mode == "ids" ? write_ids(*tokenizer, texts, argv[4])
                       : time_runs(*tokenizer, texts, std::atoi(argv[4]), load_s);
}
