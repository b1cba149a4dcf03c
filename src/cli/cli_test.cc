#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/embed_input.h"
#include "cli/embed_output.h"
#include "cli/nearest.h"
#include "cli/options.h"
#include "cli/report.h"

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
  EXPECT_EQ((*first)->id_json, "{\"k\":7}");
  auto second = reader->next();
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("in.jsonl:2"), std::string::npos) << second.error().message;
}

/// Whole rows survive an interruption, the row cut short does not, and other settings are refused.
TEST_F(CliTest, OutputContinuesBehindTheLastWholeRow) {
  for (const std::string name : {"out.jsonl", "out.npy"}) {
    OutputOptions options{path(name), "auto", 2, false, "model A"};
    std::string complete;
    {
      auto writer = OutputWriter::open(options);
      ASSERT_TRUE(writer.ok()) << writer.error().message;
      for (float v : {1.f, 2.f, 3.f}) ASSERT_TRUE(writer->write("", {v, -v}).ok());
      ASSERT_TRUE(writer->close(0).ok());
      complete = read(name);
    }
    const auto again = OutputWriter::open(options);
    ASSERT_TRUE(again.ok() && again->was_complete()) << "a complete file must not be overwritten";
    EXPECT_TRUE(again->check_input(0).ok());
    EXPECT_FALSE(again->check_input(1).ok()) << "of another input";

    write(name, complete.substr(0, complete.size() - 5));
    write(name + ".progress", "model B");
    const auto other = OutputWriter::open(options);
    ASSERT_FALSE(other.ok());
    EXPECT_NE(other.error().message.find("model B"), std::string::npos);

    write(name + ".progress", "model A");
    auto writer = OutputWriter::open(options);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    EXPECT_EQ(writer->rows(), 2);
    ASSERT_TRUE(writer->write("", {3.f, -3.f}).ok());
    ASSERT_TRUE(writer->close(0).ok());
    EXPECT_EQ(read(name), complete);
    EXPECT_FALSE(std::filesystem::exists(path(name) + ".progress"));
  }
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
