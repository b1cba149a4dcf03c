// The reader of a model folder where the disk is at fault; what its fields mean is tested folder by folder against the
// reference in tests/model_folders.
#include "model/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "model/config_fields.h"
#include "model/folder_files.h"
#include "model/json_file.h"
#include "model/known_answers.h"
#include "model/model_path.h"

namespace quern {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A folder of its own for each test, and an environment without a Hugging Face cache.
class ModelFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/quern-model-folder-XXXXXX";
    dir_ = mkdtemp(name);
    for (const char* variable : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"})
      unsetenv(variable);
    setenv("HOME", dir_.c_str(), 1);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& name, const std::string& bytes) const {
    const std::filesystem::path path = dir_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  /// A snapshot of Org/Emb in the cache `root`, marked with its name.
  std::string snapshot(const std::string& root, const std::string& commit) const {
    write(root + "/models--Org--Emb/snapshots/" + commit + "/config.json", "{}");
    return dir_ + "/" + root + "/models--Org--Emb/snapshots/" + commit;
  }
  void branch(const std::string& root, const std::string& name, const std::string& commit) const {
    write(root + "/models--Org--Emb/refs/" + name, commit);
  }

  std::string dir_;
};

TEST_F(ModelFolderTest, CacheIsLookedForInTheHubsOrder) {
  const std::pair<const char*, std::string> places[] = {
      {"XDG_CACHE_HOME", "/xdg"}, {"HF_HOME", "/home"}, {"HUGGINGFACE_HUB_CACHE", "/old"}, {"HF_HUB_CACHE", "/new"}};
  const char* hubs[] = {"xdg/huggingface/hub", "home/hub", "old", "new"};
  EXPECT_EQ(*resolve_model_path("Org/Emb").error().param.c_str(), '-');  // nowhere yet
  const std::string plain = snapshot(".cache/huggingface/hub", "c0");
  EXPECT_EQ(*resolve_model_path("Org/Emb"), plain);
  for (size_t i = 0; i < 4; ++i) {
    const std::string here = snapshot(hubs[i], "c" + std::to_string(i + 1));
    setenv(places[i].first, (dir_ + places[i].second).c_str(), 1);
    EXPECT_EQ(*resolve_model_path("Org/Emb"), here) << places[i].first;
  }
  setenv("HF_HUB_CACHE", "", 1);  // empty: unset
  EXPECT_THAT(*resolve_model_path("Org/Emb"), HasSubstr("/old/"));
}

TEST_F(ModelFolderTest, RevisionsAreBranchesTagsOrCommits) {
  const std::string hub = ".cache/huggingface/hub";
  const std::string one = snapshot(hub, "aaa111");
  EXPECT_EQ(*resolve_model_path("Org/Emb"), one) << "the only snapshot of a cache without refs";
  const std::string two = snapshot(hub, "bbb222");
  const auto unclear = resolve_model_path("Org/Emb");
  ASSERT_FALSE(unclear.ok());
  EXPECT_THAT(unclear.error().message, HasSubstr("aaa111"));
  EXPECT_THAT(unclear.error().message, HasSubstr("bbb222"));
  branch(hub, "main", "aaa111");
  branch(hub, "v2", "bbb222");
  EXPECT_EQ(*resolve_model_path("Org/Emb"), one);
  EXPECT_EQ(*resolve_model_path("Org/Emb@v2"), two);
  EXPECT_EQ(*resolve_model_path("Org/Emb", "v2"), two);
  EXPECT_EQ(*resolve_model_path("Org/Emb@bbb222"), two);
  EXPECT_EQ(*resolve_model_path("Org/Emb@v2", "v2"), two);
  for (const auto& [path, revision] : {std::pair("Org/Emb@v3", ""), std::pair("Org/Emb@v2", "main"),
                                       std::pair("Org/Emb", "../../x"), std::pair("Org/Emb@", "")}) {
    EXPECT_FALSE(resolve_model_path(path, revision).ok()) << path << " " << revision;
  }
  EXPECT_THAT(resolve_model_path("Org/Emb@v3").error().message, HasSubstr("v3"));
  EXPECT_EQ(resolve_model_path(one, "v2").error().param, "--revision") << "a folder has no revisions";
}

TEST_F(ModelFolderTest, FilesThatAreNotThereOrNotWhole) {
  write("empty.json", "");
  write("pointer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n");
  std::filesystem::create_symlink("loop.json", dir_ + "/loop.json");
  std::filesystem::create_symlink("../blobs/none", dir_ + "/blob.json");
  EXPECT_THAT(check_file(dir_, "empty.json").error().message, HasSubstr("is empty"));
  EXPECT_THAT(check_file(dir_, "pointer.json").error().message, HasSubstr("git lfs pull"));
  EXPECT_THAT(check_file(dir_, "loop.json").error().message, HasSubstr("cannot be read"));
  EXPECT_THAT(JsonFile::load_if_present(dir_, "loop.json").error().message, HasSubstr("cannot be read"));
  EXPECT_THAT(JsonFile::load_if_present(dir_, "blob.json").error().message, HasSubstr("a link to a file"));
  EXPECT_FALSE(JsonFile::load_if_present(dir_, "none.json")->has_value());
  EXPECT_THAT(missing_file(dir_, "w.safetensors").message, Not(HasSubstr("download")));
  write(".cache/huggingface/download/abc.incomplete", "x");
  EXPECT_THAT(missing_file(dir_, "w.safetensors").message, HasSubstr("abc.incomplete"));
}

TEST_F(ModelFolderTest, WhatIsNoRegularFileIsRefusedAndNotWaitedFor) {
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
    ASSERT_EQ(mkfifo((dir_ + "/" + name).c_str(), 0600), 0);
  std::filesystem::create_directory(dir_ + "/modules.json");
  std::filesystem::create_symlink("/dev/zero", dir_ + "/tokenizer_config.json");
  EXPECT_THAT(JsonFile::load(dir_, "config.json").error().message, HasSubstr("config.json: expected a file"));
  EXPECT_THAT(weight_files(dir_).error().message, HasSubstr("model.safetensors: expected a file, found a FIFO"));
  EXPECT_THAT(read_model_file(dir_, "tokenizer.json", 100).error().message, HasSubstr("found a FIFO"));
  EXPECT_THAT(JsonFile::load_if_present(dir_, "modules.json").error().message, HasSubstr("found a folder"));
  EXPECT_THAT(JsonFile::load_if_present(dir_, "tokenizer_config.json").error().message, HasSubstr("found a device"));
  std::filesystem::create_directories(dir_ + "/.cache/huggingface/hub/models--Org--Emb/refs");
  const std::string snapshot_dir = snapshot(".cache/huggingface/hub", "c0");
  ASSERT_EQ(mkfifo((dir_ + "/.cache/huggingface/hub/models--Org--Emb/refs/main").c_str(), 0600), 0);
  EXPECT_EQ(*resolve_model_path("Org/Emb"), snapshot_dir);
}

TEST_F(ModelFolderTest, ATokenizerBeyondTheLimitIsRefusedByItsLengthAlone) {
  const std::filesystem::path folder = dir_ + "/mini";
  std::filesystem::copy(QUERN_SOURCE_DIR "/models/quern-mini", folder, std::filesystem::copy_options::recursive);
  ModelFolderOptions options;
  options.path = folder;
  ASSERT_TRUE(read_model_folder(options).ok()) << read_model_folder(options).error().message;
  std::filesystem::resize_file(folder / "tokenizer.json", uintmax_t{1} << 40);
  EXPECT_THAT(read_model_folder(options).error().message,
              HasSubstr("tokenizer.json: has 1099511627776 bytes; allowed: 268435456"));
}

TEST_F(ModelFolderTest, ShardsAreFilesBesideTheIndex) {
  constexpr const char* kIndex = "model.safetensors.index.json";
  write("one.safetensors", "x");
  write("two.safetensors", "x");
  write(kIndex, R"({"weight_map":{"a":"two.safetensors","b":"one.safetensors","c":"two.safetensors"}})");
  EXPECT_THAT(*weight_files(dir_), testing::ElementsAre("one.safetensors", "two.safetensors"));
  for (const std::string name : {"..", ".", "", "../one.safetensors", "/etc/passwd", "x\\u0000y"}) {
    // Where a tensor is there twice, the last one counts; but none of them may lie.
    for (const std::string& map : {"\"a\":\"" + name + "\"", "\"a\":\"" + name + "\",\"a\":\"one.safetensors\""}) {
      write(kIndex, "{\"weight_map\":{" + map + "}}");
      const auto files = weight_files(dir_);
      ASSERT_FALSE(files.ok()) << map;
      EXPECT_THAT(files.error().message, HasSubstr("expected the name of a file beside the index")) << map;
    }
  }
  write(kIndex, R"({"weight_map":{"a":"one.safetensors","b":"three.safetensors"}})");
  EXPECT_THAT(weight_files(dir_).error().message, HasSubstr("three.safetensors: is missing"));
  write(kIndex, R"({"weight_map":[]})");
  EXPECT_THAT(weight_files(dir_).error().message, HasSubstr("\"weight_map\": expected an object"));
  write("model.safetensors", "x");
  EXPECT_THAT(*weight_files(dir_), testing::ElementsAre("model.safetensors")) << "the index is not asked";
}

TEST_F(ModelFolderTest, JsonIsReadAsPythonReadsIt) {
  write("a.json", R"({"n": 1000000000000000019884624838656, "text": "12345678901234567890123", "x": 1, "x": 2,
                      "f": 1234567890123456789012e2, "neg": -12345678901234567890123})");
  const auto file = JsonFile::load(dir_, "a.json");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const JsonView json = file->root();
  EXPECT_EQ(json.number("n"), 1e30);
  EXPECT_EQ(json.number("f"), 1234567890123456789012e2);
  EXPECT_EQ(json.text("text"), "12345678901234567890123");
  EXPECT_EQ(json.number("x"), 2) << "of a key given twice the last one counts";
  write("bom.json", "\xEF\xBB\xBF{}");
  EXPECT_THAT(JsonFile::load(dir_, "bom.json").error().message, HasSubstr("byte-order mark"));
  write("long.json", R"({"key": ")" + std::string(100000, 'x') + R"("})");
  EXPECT_LT(JsonFile::load(dir_, "long.json")->root().bad("key", "less").message.size(), 300u);
}

TEST_F(ModelFolderTest, UnknownFieldsThatSpeakOfTheComputation) {
  write("a.json", R"({"note": 5, "attn_temperature": null, "logit_scale": 1.0, "residual_multiplier": 0.5})");
  const auto file = JsonFile::load(dir_, "a.json");
  const auto refused = refuse_unknown(file->root(), kConfigFields);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("\"residual_multiplier\""));
}

TEST_F(ModelFolderTest, KnownAnswersThatDoNotFitAreLeftOut) {
  const std::vector<KnownAnswer> answers = {{"short", "", {1, 0}}, {"a long one", "", {0, 1}}};
  const auto fits_short = [](const std::string& text, const std::string&) -> Result<std::optional<Output>> {
    if (text != "short") return std::optional<Output>();
    return std::optional(Output{{1, 0}});
  };
  const auto outcome = check_known_answers(answers, 0.999, fits_short);
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_EQ(outcome->compared, 1u);
  EXPECT_EQ(outcome->embedded, 1u);
  EXPECT_EQ(outcome->left_out, 1u);
  const auto fits_none = [](const std::string&, const std::string&) -> Result<std::optional<Output>> {
    return std::optional<Output>();
  };
  for (const auto& texts : {answers, std::vector<KnownAnswer>()}) {  // those of the folder, and our own
    const auto nothing = check_known_answers(texts, 0.999, fits_none);
    ASSERT_TRUE(nothing.ok()) << nothing.error().message;
    EXPECT_EQ(nothing->embedded, 0u);
    EXPECT_EQ(nothing->left_out, 2u);
  }
  const auto same = [](const std::string&, const std::string&) -> Result<std::optional<Output>> {
    return std::optional(Output{{1, 0}});
  };
  EXPECT_FALSE(check_known_answers(answers, 0.999, same).ok());
}

/// What e4m3 loses is let pass for fp8 alone, and what a wrong vector is apart for none.
TEST_F(ModelFolderTest, KnownAnswersAreComparedAsTheFormatAllows) {
  const auto agrees = [](float cosine, std::string_view dtype) {
    const auto turned = [&](const std::string&, const std::string&) -> Result<std::optional<Output>> {
      return std::optional(Output{{cosine, std::sqrt(1 - cosine * cosine)}});
    };
    return check_known_answers({{"a text", "", {1, 0}}}, known_answer_cosine_min(dtype), turned).ok();
  };
  EXPECT_TRUE(agrees(0.984f, "fp8"));
  EXPECT_FALSE(agrees(0.93f, "fp8"));
  for (const std::string_view dtype : {"bf16", "f16"}) {
    EXPECT_TRUE(agrees(0.9995f, dtype));
    EXPECT_FALSE(agrees(0.984f, dtype));
  }
  EXPECT_FALSE(agrees(0.9995f, "f32"));
}

TEST_F(ModelFolderTest, EmptyPathIsAnError) {
  const auto folder = read_model_folder(ModelFolderOptions{});
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().param, "--model-path");
}

}  // namespace
}  // namespace quern
