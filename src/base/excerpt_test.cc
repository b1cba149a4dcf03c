#include "base/excerpt.h"

#include <gtest/gtest.h>

#include <random>

namespace quern {
namespace {

TEST(Excerpt, ShortTextStaysAsItIs) {
  EXPECT_EQ(excerpt(""), "");
  EXPECT_EQ(excerpt("model-1 \"x\" \\ \xE5\x8C\x97"), "model-1 \"x\" \\ \xE5\x8C\x97");
  EXPECT_EQ(excerpt(std::string(64, 'a')), std::string(64, 'a'));
}

TEST(Excerpt, LongTextIsCutAtACodePoint) {
  EXPECT_EQ(excerpt(std::string(65, 'a')), std::string(64, 'a') + "...");
  EXPECT_EQ(excerpt(std::string(63, 'a') + "\xC3\xA4"), std::string(63, 'a') + "...");
  EXPECT_EQ(excerpt(std::string(60 << 20, 'a')).size(), kExcerptBytesMax + 3);
}

TEST(Excerpt, ControlsAndBadBytesAreReplaced) {
  EXPECT_EQ(excerpt("a\nb\x1b[31m"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD[31m");
  EXPECT_EQ(excerpt("\xff\xfe"), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Excerpt, AnyBytesGiveBoundedValidText) {
  std::mt19937 random(1);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const std::string text = excerpt(bytes);
    ASSERT_LE(text.size(), kExcerptBytesMax + 3);
    for (size_t i = 0; i < text.size();) {
      const size_t length = utf8_length(std::string_view(text).substr(i));
      ASSERT_GT(length, 0u);
      ASSERT_GE(static_cast<unsigned char>(text[i]), 0x20);
      i += length;
    }
  }
}

}  // namespace
}  // namespace quern
