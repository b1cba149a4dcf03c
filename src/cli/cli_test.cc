#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/embed_input.h"
#include "cli/embed_output.h"
#include "cli/nearest.h"
#include "cli/options.h"
#include "cli/report.h"
#include "cli/side_file.h"

namespace quern {
namespace {

class CliTest : public ::testing::Test {
 protected:
  CliTest() {
    folder_ = std::filesystem::temp_directory_path() / ("quern_cli_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  ~CliTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::filesystem::path folder_;
};

template <typename Options>
std::optional<Options> parse(std::vector<const char*> args, int& exit_code) {
  args.insert(args.begin(), "quern");
  return parse_options<Options>(static_cast<int>(args.size()), args.data(), exit_code);
}

TEST_F(CliTest, UnknownFlagNamesTheNearestOne) {
  int exit_code = 0;
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(parse<ServeOptions>({"--prot", "80"}, exit_code).has_value());
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(exit_code, 2);
  EXPECT_NE(text.find("did you mean --port?"), std::string::npos) << text;
}

TEST_F(CliTest, BadValueNamesTheFlag) {
  int exit_code = 0;
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(parse<ServeOptions>({"--dtype", "int3"}, exit_code).has_value());
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(exit_code, 2);
  EXPECT_NE(text.find("--dtype"), std::string::npos) << text;
  EXPECT_NE(text.find("bf16"), std::string::npos) << text;
}

TEST_F(CliTest, CommandLineWinsOverEnvironmentWinsOverFile) {
  write("quern.toml", "port = 1001\nthreads = 3\nmax-batch-tokens = 77\n");
  setenv("QUERN_PORT", "1002", 1);
  setenv("QUERN_THREADS", "2", 1);
  int exit_code = 0;
  const std::string config = path("quern.toml");
  const auto options = parse<ServeOptions>({"--config", config.c_str(), "--port", "1003"}, exit_code);
  unsetenv("QUERN_PORT");
  unsetenv("QUERN_THREADS");
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->port, 1003);
  EXPECT_EQ(options->model.threads, 2);
  EXPECT_EQ(options->model.batch_tokens_max, 77);
}

TEST_F(CliTest, UnknownNameInTheFileIsAnError) {
  write("quern.toml", "prot = 1001\n");
  int exit_code = 0;
  const std::string config = path("quern.toml");
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(parse<ServeOptions>({"--config", config.c_str()}, exit_code).has_value());
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("prot"), std::string::npos);
  EXPECT_EQ(exit_code, 2);
}

TEST(NearestTest, PrefersTheNearestAndGivesUpOnNonsense) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(nearest_name("--modelpath", {"--model-path", "--port"}), "--model-path");
  EXPECT_EQ(nearest_name("--xyzzy-frobnicate", {"--model-path", "--port"}), "");
}

TEST_F(CliTest, ReadsTextLinesAndKeepsEmptyOnes) {
  write("in.txt", "one\r\n\nthree");
  auto reader = InputReader::open(path("in.txt"), "auto");
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->count_records(), 3);
  std::vector<std::string> texts;
  for (auto record = reader->next(); record.ok() && record->has_value(); record = reader->next())
    texts.push_back((*record)->text);
  EXPECT_EQ(texts, (std::vector<std::string>{"one", "", "three"}));
}

TEST_F(CliTest, BadJsonLineIsNamed) {
  write("in.jsonl", "{\"text\":\"a\",\"id\":{\"k\": 7}}\n{\"text\":3}\n");
  auto reader = InputReader::open(path("in.jsonl"), "auto");
  ASSERT_TRUE(reader.ok());
  auto first = reader->next();
  ASSERT_TRUE(first.ok());
  EXPECT_EQ((*first)->id_json, "{\"k\": 7}");
  auto second = reader->next();
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("in.jsonl:2"), std::string::npos) << second.error().message;
}

class OutputTest : public CliTest {
 protected:
  OutputOptions options(const std::string& name) { return {path(name), "auto", 2, false, "model A"}; }
  static Result<void> begin_and_write(OutputWriter& writer, std::vector<float> values) {
    if (auto begun = writer.begin(); !begun) return begun;
    for (float v : values) {
      if (auto written = writer.write("", {v, -v}, static_cast<uint64_t>(v)); !written) return written;
    }
    return {};
  }
  static std::string refusal(const OutputOptions& options) {
    const auto writer = OutputWriter::open(options);
    return writer ? "" : writer.error().message;
  }
};

/// Rows that were flushed survive an interruption, what is behind them does not; other settings are refused.
TEST_F(OutputTest, ContinuesBehindTheLastFlushedRow) {
  for (const std::string name : {"out.jsonl", "out.npy"}) {
    std::string complete;
    {
      auto writer = OutputWriter::open(options(name));
      ASSERT_TRUE(writer.ok()) << writer.error().message;
      ASSERT_TRUE(begin_and_write(*writer, {1, 2, 3}).ok());
      ASSERT_TRUE(writer->close(3).ok());
      complete = read(name);
    }
    const auto again = OutputWriter::open(options(name));
    ASSERT_TRUE(again.ok() && again->was_complete()) << "a complete file must not be overwritten";
    EXPECT_TRUE(again->check_input(3).ok());
    EXPECT_FALSE(again->check_input(1).ok()) << "of another input";

    for (const size_t cut : {0, 5}) {
      OutputOptions anew = options(name);
      anew.overwrite = true;
      {
        auto writer = OutputWriter::open(anew);
        ASSERT_TRUE(writer.ok() && begin_and_write(*writer, {1, 2}).ok() && writer->flush().ok());
        ASSERT_TRUE(writer->write("", {7, 7}, 7).ok());  // of which .progress says nothing
      }
      const std::string begun = read(name);
      write(name, begun.substr(0, begun.size() - cut));
      OutputOptions other = options(name);
      other.settings = "model B";
      EXPECT_NE(refusal(other).find("model A"), std::string::npos) << refusal(other);

      auto writer = OutputWriter::open(options(name));
      ASSERT_TRUE(writer.ok()) << writer.error().message;
      EXPECT_EQ(writer->rows(), 2);
      EXPECT_TRUE(writer->check_begun(2).ok());
      EXPECT_FALSE(writer->check_begun(1).ok()) << "of another input";
      ASSERT_TRUE(begin_and_write(*writer, {3}).ok());
      ASSERT_TRUE(writer->close(3).ok());
      EXPECT_EQ(read(name), complete);
      EXPECT_FALSE(std::filesystem::exists(path(name) + ".progress"));
    }
  }
}

TEST_F(OutputTest, RowsThatWereTakenAwaySinceAreMissed) {
  for (const std::string name : {"out.jsonl", "out.npy"}) {
    {
      auto writer = OutputWriter::open(options(name));
      ASSERT_TRUE(writer.ok() && begin_and_write(*writer, {1, 2}).ok() && writer->flush().ok());
    }
    const std::string begun = read(name);
    write(name, begun.substr(0, begun.size() - 1));
    auto writer = OutputWriter::open(options(name));
    ASSERT_TRUE(writer.ok());
    EXPECT_NE(writer->begin().error().message.find("holds 1 rows"), std::string::npos);
    EXPECT_EQ(read(name).size(), begun.size() - 1);
  }
}

/// A file beside the output that somebody else wrote is neither overwritten nor removed.
TEST_F(OutputTest, WhatIsNotOursIsNotTouched) {
  for (const std::string foreign : {"out.npy.done", "out.npy.progress", "out.npy.progress.new"}) {
    for (const bool overwrite : {false, true}) {
      write(foreign, "precious");
      write("out.npy", "old");
      OutputOptions wanted = options("out.npy");
      wanted.overwrite = overwrite;
      auto writer = OutputWriter::open(wanted);
      const auto begun = writer ? writer->begin() : Result<void>(writer.error());
      ASSERT_FALSE(begun.ok()) << foreign;
      if (overwrite || foreign != "out.npy.progress.new") {
        EXPECT_NE(begun.error().message.find(foreign + " was not written by quern embed"), std::string::npos)
            << begun.error().message;
      }
      EXPECT_EQ(read(foreign), "precious");
      EXPECT_EQ(read("out.npy"), "old");
      std::filesystem::remove(path(foreign));
      std::filesystem::remove(path("out.npy.done"));
      std::filesystem::remove(path("out.npy.progress"));
    }
  }
}

/// No file of this process may grow beyond so many bytes: as on a full disk.
class FileBytesMax {
 public:
  explicit FileBytesMax(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FileBytesMax() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

/// A full disk while a file beside the output is written is an error, and what was there before stays whole.
TEST_F(OutputTest, AFullDiskIsNeverDone) {
  OutputOptions wanted = options("out.npy");
  wanted.settings.assign(600, 'x');
  auto writer = OutputWriter::open(wanted);
  ASSERT_TRUE(writer.ok() && begin_and_write(*writer, {1}).ok() && writer->flush().ok());
  const std::string before = read("out.npy.progress");
  ASSERT_TRUE(writer->write("", {2, -2}, 2).ok());
  {
    const FileBytesMax full(512);
    EXPECT_FALSE(writer->flush().ok());
    EXPECT_EQ(read("out.npy.progress"), before);
    EXPECT_FALSE(SideFile(path("out.npy.done")).write(wanted.settings).ok());
    EXPECT_FALSE(writer->close(2).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(path("out.npy.done")));
  EXPECT_FALSE(std::filesystem::exists(path("out.npy.done.new")));
  ASSERT_TRUE(writer->close(2).ok());
  const auto again = OutputWriter::open(wanted);
  EXPECT_TRUE(again.ok() && again->was_complete() && again->check_input(2).ok());
}

TEST(Describe, NamesWhatIsAtFaultOnce) {
  const auto told = [](const char* message, const char* param) { return describe(invalid_argument(message, param)); };
  EXPECT_EQ(told("is 7", "--port"), "--port: is 7");
  EXPECT_EQ(told("--port: is 7", "--port"), "--port: is 7");
  EXPECT_EQ(told("/m/tokenizer.json: is missing", "tokenizer.json"), "/m/tokenizer.json: is missing");
  EXPECT_EQ(told("/m/t.json: added_tokens[1].lstrip: is true", "added_tokens[1].lstrip"),
            "/m/t.json: added_tokens[1].lstrip: is true");
  EXPECT_EQ(told("is no number: --port: 7", "--port"), "--port: is no number: --port: 7");
}

}  // namespace
}  // namespace quern
