// Checkpoints as they are met: odd offsets, foreign dtypes, shards, and files that lie.
#include "tensor/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace quern {
namespace {

/// A folder of its own, removed with the test.
class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "quern_safetensors_" + std::to_string(getpid());
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << text;
  }
  static std::string file(std::string header, const std::string& data) {
    uint64_t bytes = header.size();
    std::string length(8, '\0');
    std::memcpy(length.data(), &bytes, 8);
    return length + header + data;
  }
  std::string error_of(const std::string& header, const std::string& data = std::string(64, 'x')) {
    write("model.safetensors", file(header, data));
    auto opened = Safetensors::open(dir_, kOne);
    return opened ? "" : opened.error().message;
  }
  const std::vector<std::string> kOne{"model.safetensors"};
  std::string dir_;
};

TEST_F(SafetensorsTest, TensorsOfEveryDtypeOfTheFormatAreThere) {
  struct Kind {
    const char* dtype;
    size_t bytes_of_four;
  };
  for (const Kind kind : {Kind{"F64", 32},
                          {"F32", 16},
                          {"BF16", 8},
                          {"F16", 8},
                          {"I64", 32},
                          {"U8", 4},
                          {"BOOL", 4},
                          {"F8_E4M3", 4},
                          {"F8_E5M2", 4},
                          {"F8_E8M0", 4},
                          {"F4", 2},
                          {"F6_E2M3", 3},
                          {"C64", 32}}) {
    const std::string bytes = std::to_string(kind.bytes_of_four);
    const std::string dtype = kind.dtype;
    ASSERT_EQ(error_of("{\"a\":{\"dtype\":\"" + dtype + "\",\"shape\":[2,2],\"data_offsets\":[0," + bytes + "]}}"), "");
    const auto opened = Safetensors::open(dir_, kOne);
    const Tensor* tensor = opened->find("a");
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->stored_as, dtype);
    EXPECT_EQ(tensor->dtype.has_value(), dtype == "F32" || dtype == "BF16" || dtype == "F16");
    EXPECT_EQ(tensor->bytes, kind.bytes_of_four);
  }
  EXPECT_NE(error_of(R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})").find("found \"F33\""),
            std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})").find("expected 2 bytes"),
            std::string::npos);
}

TEST_F(SafetensorsTest, DataMayLieAtAnyOffset) {
  ASSERT_EQ(error_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                     R"("b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})",
                     std::string("x\0\0\x80\x3f\0\0\0\x40", 9)),
            "");
  const auto opened = Safetensors::open(dir_, kOne);
  float values[2] = {};
  std::memcpy(values, opened->find("b")->data, 8);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], 2.0f);
}

TEST_F(SafetensorsTest, AHeaderThatLiesIsRefusedByName) {
  const auto one = [](const std::string& shape, const std::string& offsets) {
    return "{\"w\":{\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
  };
  EXPECT_EQ(error_of(one("[16]", "[0,64]")), "");
  EXPECT_NE(error_of(one("[17]", "[0,68]")).find("expected offsets within 64 bytes"), std::string::npos);
  EXPECT_NE(error_of(one("[15]", "[0,64]")).find("expected 60 bytes"), std::string::npos);
  EXPECT_NE(error_of(one("[-1]", "[0,64]")).find("dimensions >= 0"), std::string::npos);
  EXPECT_NE(error_of(one("[1152921504606846976,64]", "[0,64]")).find("overflow"), std::string::npos);
  EXPECT_NE(error_of(one("[4]", "[8,0]")).find("offsets"), std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                     R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})")
                .find("overlap with \"a\""),
            std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                     R"("a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})")
                .find("found twice"),
            std::string::npos);
  EXPECT_LT(error_of("{\"" + std::string(1 << 20, 'n') + "\":{\"dtype\":\"Q\"}}").size(), 500u);
  EXPECT_NE(error_of("[]").find("JSON object"), std::string::npos);
  write("model.safetensors", "short");
  EXPECT_FALSE(Safetensors::open(dir_, kOne).ok());
}

TEST_F(SafetensorsTest, ATensorIsInOneShardOnly) {
  const std::string shard = file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "abcd");
  write("one.safetensors", shard);
  write("two.safetensors", shard);
  EXPECT_TRUE(Safetensors::open(dir_, {"one.safetensors"}).ok());
  EXPECT_NE(Safetensors::open(dir_, {"one.safetensors", "two.safetensors"})
                .error()
                .message.find("expected in one shard, found in two"),
            std::string::npos);
  EXPECT_FALSE(Safetensors::open(std::string(10'000, 'x'), kOne).ok());  // a name that the file system itself refuses
}

TEST_F(SafetensorsTest, AFifoIsNotWaitedFor) {
  ASSERT_EQ(mkfifo((dir_ + "/model.safetensors").c_str(), 0600), 0);
  EXPECT_NE(Safetensors::open(dir_, kOne).error().message.find("no regular file"), std::string::npos);
}

}  // namespace
}  // namespace quern
