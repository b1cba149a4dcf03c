#include "base/ascii.h"

#include <gtest/gtest.h>

#include <cctype>

namespace quern {
namespace {

TEST(Ascii, EveryByteIsWhatTheCLocaleSays) {
  for (int i = 0; i < 256; ++i) {
    const auto c = static_cast<char>(i);
    EXPECT_EQ(is_digit(c), i < 128 && std::isdigit(i)) << i;
    EXPECT_EQ(is_letter(c), i < 128 && std::isalpha(i)) << i;
    EXPECT_EQ(to_lower(c), i < 128 ? static_cast<char>(std::tolower(i)) : c) << i;
    EXPECT_EQ(hex_digit(c) >= 0, i < 128 && std::isxdigit(i)) << i;
    if (hex_digit(c) >= 0) {
      EXPECT_EQ(hex_digit(c), std::stoi(std::string(1, c), nullptr, 16));
    }
  }
  EXPECT_EQ(to_lower("GET \xC3\x84"), "get \xC3\x84");
}

TEST(Ascii, AnIntegerIsTheWholeTextWithinItsBounds) {
  EXPECT_EQ(parse_integer("-3", -3, 3), -3);
  EXPECT_EQ(parse_integer("007", 0, 9), 7);
  EXPECT_EQ(parse_integer("9223372036854775807", 0, INT64_MAX), INT64_MAX);
  for (const char* bad : {"", " 1", "1 ", "+1", "1.0", "1e0", "0x1", "9223372036854775808", "4", "-4"})
    EXPECT_FALSE(parse_integer(bad, -3, 3)) << bad;
}

}  // namespace
}  // namespace quern
