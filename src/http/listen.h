// Listening sockets for all addresses of a host. Called by one thread.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace quern {

/// The addresses of a host name, each once. Errors: it cannot be resolved.
Result<std::vector<boost::asio::ip::tcp::endpoint>> resolve_host(const std::string& host, uint16_t port);

/// One socket for each endpoint, all on the same port; port 0: a free one. An address that this machine does not have
/// is left out as long as one remains (`localhost` names ::1 where there is no IPv6, too). Errors: a port in use, no
/// address left.
Result<std::vector<boost::asio::ip::tcp::acceptor>> listen_on(
    boost::asio::io_context& io, const std::vector<boost::asio::ip::tcp::endpoint>& endpoints, int backlog);

}  // namespace quern
