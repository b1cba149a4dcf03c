#include "http/listen.h"

#include <algorithm>
#include <boost/asio/ip/v6_only.hpp>

namespace quern {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

namespace {

// The kernel picks a port free on the first address; on the others it may be taken.
constexpr int kFreePortTries = 20;

tcp::acceptor open(asio::io_context& io, const tcp::endpoint& endpoint, bool ipv6_only, int backlog,
                   boost::system::error_code& ec) {
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec && ipv6_only && endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(backlog, ec);
  if (!ec) acceptor.non_blocking(true, ec);
  return acceptor;
}

bool is_absent(const boost::system::error_code& ec) {
  return ec == asio::error::address_family_not_supported || ec == boost::system::errc::address_not_available;
}

}  // namespace

Result<std::vector<tcp::endpoint>> resolve_host(const std::string& host, uint16_t port) {
  asio::io_context io;
  tcp::resolver resolver(io);
  boost::system::error_code ec;
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, ec);
  if (ec || found.empty()) return invalid_argument("cannot resolve host " + host + ": " + ec.message(), "--host");
  std::vector<tcp::endpoint> endpoints;
  for (const auto& entry : found) {
    if (std::find(endpoints.begin(), endpoints.end(), entry.endpoint()) == endpoints.end()) {
      endpoints.push_back(entry.endpoint());
    }
  }
  return endpoints;
}

Result<std::vector<tcp::acceptor>> listen_on(asio::io_context& io, const std::vector<tcp::endpoint>& endpoints,
                                             int backlog) {
  boost::system::error_code ec;
  std::string failed_at;
  for (int attempt = 0; attempt < kFreePortTries; ++attempt) {
    std::vector<tcp::acceptor> acceptors;
    bool port_taken = false;
    bool port_chosen = false;
    for (tcp::endpoint endpoint : endpoints) {
      const bool free_port = endpoint.port() == 0;
      if (free_port && !acceptors.empty()) endpoint.port(acceptors.front().local_endpoint().port());
      tcp::acceptor acceptor = open(io, endpoint, endpoints.size() > 1, backlog, ec);
      if (!ec) {
        acceptors.push_back(std::move(acceptor));
        continue;
      }
      failed_at = endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
      if (is_absent(ec)) continue;
      port_taken = true;
      port_chosen = free_port && !acceptors.empty();
      break;
    }
    if (!port_taken && !acceptors.empty()) return acceptors;
    if (!port_chosen) break;
  }
  return invalid_argument("cannot listen on " + failed_at + ": " + ec.message(), "--port");
}

}  // namespace quern
