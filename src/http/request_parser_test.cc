// What the standards ask of one who reads requests; TESTING.md has the table.
#include "http/request_parser.h"

#include <gtest/gtest.h>

#include "http/request_target.h"

namespace quern {
namespace {

struct Parsed {
  int status = 0;  // 0: more is needed; 200: a whole request
  std::string message;
  HttpRequest request;
  bool expect_continue = false;
  size_t unread = 0;
};

/// Feeds `text` in pieces of `step` bytes.
Parsed parse(std::string_view text, size_t step, const HttpServerConfig& config = {}) {
  static MemoryBudget budget(1 << 30);
  Parsed result;
  RequestParser parser(config, budget);
  std::string input;
  size_t fed = 0;
  while (parser.state() == RequestParser::State::kNeedsMore) {
    const size_t used = parser.feed(input);
    input.erase(0, used);
    result.expect_continue |= parser.has_head() && parser.take_expect_continue();
    if (used > 0 && !input.empty()) continue;
    if (parser.state() != RequestParser::State::kNeedsMore) break;
    if (fed == text.size()) return result;
    input.append(text.substr(fed, step));
    fed += std::min(step, text.size() - fed);
  }
  result.unread = input.size() + text.size() - fed;
  if (parser.state() == RequestParser::State::kRefused) {
    result.status = parser.refusal().status;
    result.message = parser.refusal().message;
  } else {
    result.status = 200;
    result.request = std::move(parser.request());
  }
  return result;
}

/// The same whole, and one byte at a time; both must agree.
Parsed parse(std::string_view text) {
  Parsed whole = parse(text, text.size());
  const Parsed bytes = parse(text, 1);
  EXPECT_EQ(whole.status, bytes.status) << text;
  EXPECT_EQ(whole.request.target(), bytes.request.target()) << text;
  EXPECT_EQ(whole.request.body, bytes.request.body) << text;
  return whole;
}

int status_of(std::string_view text) { return parse(text).status; }

std::string chunked(std::string_view trailer) {
  return "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n" + std::string(trailer) +
         "\r\n";
}

TEST(RequestParser, TrailersNeverBecomeHeaders) {
  for (const char* name : {"Authorization", "Host", "X-Anything", "Expect", "Content-Encoding", "Connection"}) {
    const Parsed parsed = parse(chunked(std::string(name) + ": close\r\n"));
    ASSERT_EQ(parsed.status, 200) << name << parsed.message;
    EXPECT_EQ(parsed.request.body, "ab");
    EXPECT_EQ(parsed.request.header(name), std::string_view(name) == "Host" ? "h" : "") << name;
    EXPECT_TRUE(parsed.request.keep_alive) << name;
  }
}

TEST(RequestParser, LinesEndInCrLf) {
  EXPECT_EQ(status_of("GET / HTTP/1.1\nHost: h\n\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: h\r\n\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\nHost: h"), 400);  // at once, not after a timeout
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"), 400);
  EXPECT_NE(parse("GET / HTTP/1.1\n").message.find("LF"), std::string::npos);
  const Parsed body = parse("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na\nb");
  EXPECT_EQ(body.request.body, "a\nb");
}

TEST(RequestParser, TheRequestLine) {
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/9.9\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / http/1.1\r\nHost: h\r\n\r\n"), 400);  // case-sensitive
  EXPECT_EQ(status_of("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET  / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(status_of("G@T / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
}

TEST(RequestParser, TargetForms) {
  const auto target = [](std::string_view line) {
    const Parsed parsed = parse(std::string(line) + " HTTP/1.1\r\nHost: other\r\n\r\n");
    return parsed.status == 200
               ? std::string(parsed.request.header("host")) + " " + std::string(parsed.request.target())
               : std::to_string(parsed.status);
  };
  EXPECT_EQ(target("GET /a?b=c"), "other /a?b=c");
  EXPECT_EQ(target("GET http://example.com/a?b=c"), "example.com /a?b=c");
  EXPECT_EQ(target("GET HTTPS://example.com:81/"), "example.com:81 /");
  EXPECT_EQ(target("GET http://[::1]:8080"), "[::1]:8080 /");
  EXPECT_EQ(target("GET http://h?q"), "h /?q");
  EXPECT_EQ(target("OPTIONS *"), "other *");
  EXPECT_EQ(target("OPTIONS http://h"), "h *");
  for (const char* bad : {"GET *", "GET a", "GET http:///a", "GET http://:80/", "GET http://u:p@h/", "GET ftp://h/",
                          "GET http://h:8a/", "GET //"}) {
    EXPECT_EQ(target(bad), std::string_view(bad) == "GET //" ? "other //" : "400") << bad;
  }
  EXPECT_EQ(target("CONNECT h:80"), "501");
  const Parsed old = parse("GET http://h/ HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.request.header("host"), "h");
}

TEST(RequestParser, ExactlyOneValidHost) {
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET http://h/ HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\n\r\n"), 200);
  std::string many = "GET http://" + std::string(8'000, 'h') + "/ HTTP/1.1\r\n";  // which counts in place of any other
  for (int i = 0; i < 1'000; ++i) many += "Host: a\r\n";
  MemoryBudget budget(1 << 30);
  const HttpServerConfig config;
  RequestParser parser(config, budget);
  (void)parser.feed(many + "\r\n");
  EXPECT_EQ(parser.state(), RequestParser::State::kRefused);
  EXPECT_LT(parser.request().head_bytes(), 4 * many.size());
  for (const char* host : {"", "h", "h:", "h:80", "127.0.0.1:80", "[::1]:80", "a_b.c-d"}) {
    EXPECT_TRUE(is_valid_host(host)) << host;
  }
  for (const char* host : {"a b", "a/b", "u@h", "h:8x", "[::1", "[]", "a,b c", "h:80:80", "[::1]x"}) {
    EXPECT_FALSE(is_valid_host(host)) << host;
    EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n"), 400) << host;
  }
}

TEST(RequestParser, Framing) {
  const auto framed = [](std::string_view version, std::string_view fields) {
    return status_of("POST / HTTP/" + std::string(version) + "\r\nHost: h\r\n" + std::string(fields) + "\r\n0\r\n\r\n");
  };
  EXPECT_EQ(framed("1.1", "Transfer-Encoding: chunked\r\n"), 200);
  EXPECT_EQ(framed("1.1", "Transfer-Encoding: CHUNKED\r\n"), 200);
  EXPECT_EQ(framed("1.0", "Transfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(framed("1.1", "Transfer-Encoding: gzip, chunked\r\n"), 501);
  EXPECT_EQ(framed("1.1", "Transfer-Encoding: gzip\r\n"), 400);
  EXPECT_EQ(framed("1.1", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(framed("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400);
  EXPECT_EQ(framed("1.1", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(framed("1.1", "Content-Length: 5\r\nContent-Length: 4\r\n"), 400);
  EXPECT_EQ(framed("1.1", "Content-Length: 5\r\nContent-Length: 5\r\n"), 200);
  EXPECT_EQ(framed("1.1", "Content-Length: -1\r\n"), 400);
  EXPECT_EQ(framed("1.1", "Content-Length: 99999999999999999999\r\n"), 400);
  EXPECT_EQ(framed("1.1", "Content-Length: 99999999999\r\n"), 413);
  EXPECT_EQ(framed("1.1", "X : y\r\n"), 400);  // a space before the colon
  EXPECT_EQ(framed("1.1", ""), 200);           // neither: no body
  EXPECT_EQ(parse("GET / HTTP/1.1\r\nHost: h\r\n\r\nrest").unread, 4u);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"), 400);
}

TEST(RequestParser, Expectations) {
  const auto expects = [](std::string_view version, std::string_view value) {
    return parse("POST / HTTP/" + std::string(version) + "\r\nHost: h\r\nExpect: " + std::string(value) +
                 "\r\nContent-Length: 1\r\n\r\nx");
  };
  EXPECT_TRUE(expects("1.1", "100-Continue").expect_continue);
  EXPECT_EQ(expects("1.1", "100-continue").status, 200);
  EXPECT_FALSE(expects("1.0", "100-continue").expect_continue);
  EXPECT_EQ(expects("1.0", "magic").status, 200);
  EXPECT_EQ(expects("1.1", "magic").status, 417);
  EXPECT_EQ(expects("1.1", "100-continue, magic").status, 417);
  EXPECT_NE(expects("1.1", "magic").message.find("magic"), std::string::npos);
}

// Of a client's text at most an excerpt comes back, whichever field is refused.
TEST(RequestParser, RefusalsAreShort) {
  const std::string big(20'000, 'a');
  for (const std::string& text :
       {"GET " + big + " HTTP/1.1\r\n", "GET http://" + big + "@/ HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: " + big + "@\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nExpect: " + big + "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: " + big + "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Encoding: " + big + "\r\n\r\n"}) {
    const Parsed parsed = parse(text, text.size());
    EXPECT_GE(parsed.status, 400);
    EXPECT_LT(parsed.message.size(), 300u) << parsed.message;
  }
}

}  // namespace
}  // namespace quern
