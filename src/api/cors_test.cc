// CORS: origins as a person writes them, and what is refused at start.
#include "api/cors.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

using Origins = std::vector<std::string>;

TEST(Cors, OriginsAsBrowsersSendThem) {
  const std::pair<const char*, const char*> cases[] = {
      {"https://example.org", "https://example.org"},
      {"https://example.org/", "https://example.org"},
      {"HTTPS://Example.ORG", "https://example.org"},
      {"https://example.org:443", "https://example.org"},
      {"http://example.org:80/", "http://example.org"},
      {"http://example.org:443", "http://example.org:443"},
      {"http://localhost:3000", "http://localhost:3000"},
      {"http://127.0.0.1:8080", "http://127.0.0.1:8080"},
      {"http://[::1]:3000", "http://[::1]:3000"},
      {"http://[::1]", "http://[::1]"},
      {"https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"},
      {"chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"},
      {"*", "*"}};
  for (const auto& [given, expected] : cases) {
    const auto origins = parse_cors_origins({given});
    ASSERT_TRUE(origins.ok()) << given << ": " << origins.error().message;
    EXPECT_EQ(*origins, Origins{expected}) << given;
  }
  EXPECT_EQ(*parse_cors_origins({"https://a.example/", "http://b.example", "https://A.example:443"}),
            (Origins{"https://a.example", "http://b.example"}));
  EXPECT_TRUE(parse_cors_origins({})->empty());
}

TEST(Cors, NonsenseIsRefusedAtStart) {
  for (const char* bad : {"",
                          " ",
                          "example.org",
                          "localhost:3000",
                          "null",
                          "https://",
                          "https:///",
                          "https://example.org/app",
                          "https://example.org//",
                          "https://example.org?x",
                          "https://example.org#x",
                          "https://user@example.org",
                          "https://*.example.org",
                          "https://example.org:",
                          "https://example.org:0",
                          "https://example.org:65536",
                          "https://example.org:99999999999",
                          "https://example.org:80x",
                          "https://a.example,https://b.example",
                          "https://a.example https://b.example",
                          " https://example.org",
                          "https://example.org\r\nX: y",
                          "https://m\xC3\xBCnchen.example",
                          "://example.org",
                          "1http://example.org",
                          "http://[::1",
                          "http://[]",
                          "http://::1",
                          "**"}) {
    const auto origins = parse_cors_origins({"https://good.example", bad});
    ASSERT_FALSE(origins.ok()) << bad;
    EXPECT_EQ(origins.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(origins.error().param, "--cors-origin");
    EXPECT_NE(origins.error().message.find("allowed: SCHEME://HOST"), std::string::npos) << origins.error().message;
  }
  const auto both = parse_cors_origins({"https://example.org", "*"});
  ASSERT_FALSE(both.ok());
  EXPECT_NE(both.error().message.find("stands alone"), std::string::npos);
  EXPECT_LT(parse_cors_origins({std::string(100'000, 'x')}).error().message.size(), 500u);
}

TEST(Cors, EachOriginIsEchoedAndNoOther) {
  const Origins two = {"https://a.example", "http://localhost:3000"};
  EXPECT_EQ(allowed_origin(two, "http://localhost:3000"), "http://localhost:3000");
  for (const char* other : {"", "null", "http://localhost", "http://localhost:30000", "https://a.example.evil.example"})
    EXPECT_EQ(allowed_origin(two, other), "") << other;
  EXPECT_EQ(allowed_origin({"*"}, "https://anyone.example"), "*");
  EXPECT_EQ(allowed_origin({}, "https://a.example"), "");
}

TEST(Cors, HeadersOfEveryAnswer) {
  const auto lines = [](const Origins& allowed, std::string_view origin) {
    HttpResponse response;
    add_cors(response, allowed, allowed_origin(allowed, origin));
    return response.header_lines;
  };
  EXPECT_EQ(lines({}, "https://a.example"), "");
  const std::string echoed = lines({"https://b.example", "https://a.example"}, "https://a.example");
  EXPECT_NE(echoed.find("Access-Control-Allow-Origin: https://a.example\r\n"), std::string::npos);
  EXPECT_NE(echoed.find("Vary: Origin\r\n"), std::string::npos);
  EXPECT_EQ(lines({"https://a.example"}, "https://c.example"), "Vary: Origin\r\n");
  const std::string any = lines({"*"}, "https://a.example");
  EXPECT_NE(any.find("Access-Control-Allow-Origin: *\r\n"), std::string::npos);
  EXPECT_EQ(any.find("Vary"), std::string::npos);
}

}  // namespace
}  // namespace quern
