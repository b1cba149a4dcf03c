#include "http/listen.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

tcp::endpoint at(const char* address, uint16_t port) { return {asio::ip::make_address(address), port}; }

bool can_connect(const tcp::endpoint& endpoint) {
  asio::io_context io;
  tcp::socket socket(io);
  boost::system::error_code ec;
  socket.connect(endpoint, ec);
  return !ec;
}

TEST(Listen, EveryAddressOnOnePort) {
  asio::io_context io;
  auto acceptors = listen_on(io, {at("127.0.0.1", 0), at("127.0.0.2", 0)}, 16);
  ASSERT_TRUE(acceptors.ok());
  ASSERT_EQ(acceptors->size(), 2u);
  const uint16_t port = (*acceptors)[0].local_endpoint().port();
  EXPECT_TRUE(can_connect(at("127.0.0.1", port)));
  EXPECT_TRUE(can_connect(at("127.0.0.2", port)));
}

// 192.0.2.1 is for documentation; no machine has it.
TEST(Listen, AbsentAddressIsLeftOutUnlessItIsTheOnlyOne) {
  asio::io_context io;
  const auto acceptors = listen_on(io, {at("192.0.2.1", 0), at("127.0.0.1", 0)}, 16);
  ASSERT_TRUE(acceptors.ok());
  EXPECT_EQ(acceptors->size(), 1u);
  const auto none = listen_on(io, {at("192.0.2.1", 0)}, 16);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("192.0.2.1"), std::string::npos);
}

TEST(Listen, PortInUseOnAnyAddressIsAnError) {
  asio::io_context io;
  auto first = listen_on(io, {at("127.0.0.2", 0)}, 16);
  ASSERT_TRUE(first.ok());
  const uint16_t port = (*first)[0].local_endpoint().port();
  const auto second = listen_on(io, {at("127.0.0.1", port), at("127.0.0.2", port)}, 16);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("127.0.0.2:" + std::to_string(port)), std::string::npos);
}

TEST(Listen, ResolvesNamesOnceEach) {
  const auto found = resolve_host("localhost", 80);
  ASSERT_TRUE(found.ok());
  for (size_t i = 0; i < found->size(); ++i) {
    for (size_t j = i + 1; j < found->size(); ++j) EXPECT_NE((*found)[i], (*found)[j]);
  }
  EXPECT_FALSE(resolve_host("no.such.host.invalid", 80).ok());
}

}  // namespace
}  // namespace quern
