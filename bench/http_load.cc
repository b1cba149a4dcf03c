// A load of HTTP requests, for bench/gpu_serve.sh: CLIENTS connections that each send the next body as soon as the
// answer to the last one is there. One thread; fast enough for 100,000 answers a second.
//
// http_load PORT CLIENTS SECONDS BODIES [WARM_SECONDS]: BODIES holds one body of POST /v1/embeddings a line, taken in
// turn. Prints the rate and the latencies of what was answered after WARM_SECONDS; exit code 1 where one was not 200.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<std::string> read_requests(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> requests;
  std::string body;
  while (std::getline(in, body)) {
    requests.push_back(
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  if (requests.empty()) throw std::runtime_error(path + ": no bodies");
  return requests;
}

/// The bytes of the answer at the front of `text`, 0 while it is not all there.
size_t answer_bytes(const std::string& text) {
  const size_t head = text.find("\r\n\r\n");
  if (head == std::string::npos) return 0;
  std::string lower = text.substr(0, head);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const size_t length = lower.find("content-length:");
  if (length == std::string::npos) throw std::runtime_error("an answer without a length: " + text.substr(0, head));
  const size_t all = head + 4 + std::strtoull(lower.c_str() + length + 15, nullptr, 10);
  return text.size() >= all ? all : 0;
}

struct Client {
  int socket = -1;
  std::string received;
  double begin_s = 0;
};

class Load {
 public:
  Load(int port, size_t clients, std::vector<std::string> requests)
      : requests_(std::move(requests)), clients_(clients) {
    for (size_t i = 0; i < clients; ++i) {
      clients_[i].socket = connect_to(port);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = i;
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, clients_[i].socket, &event) != 0) throw std::runtime_error("epoll_ctl");
    }
  }

  bool run(double warm_s, double seconds) {
    const double start = now_s();
    measure_from_ = start + warm_s;
    const double end = measure_from_ + seconds;
    for (Client& client : clients_) send_next(client);
    std::vector<epoll_event> events(clients_.size());
    while (now_s() < end) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 100);
      for (int i = 0; i < count; ++i) on_event(clients_[events[static_cast<size_t>(i)].data.u64]);
    }
    report(seconds);
    return failed_ == 0 && !times_.empty();
  }

 private:
  static int connect_to(int port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (socket < 0 || connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect to port " + std::to_string(port));
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return socket;
  }

  /// Bodies are small beside a socket's buffer: sending blocks hardly ever.
  void send_next(Client& client) {
    const std::string& request = requests_[next_++ % requests_.size()];
    client.begin_s = now_s();
    for (size_t sent = 0; sent < request.size();) {
      const ssize_t n = send(client.socket, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) throw std::runtime_error("the server closed a connection");
      sent += static_cast<size_t>(n);
    }
  }

  void on_event(Client& client) {
    char buffer[65536];
    const ssize_t n = recv(client.socket, buffer, sizeof buffer, 0);
    if (n <= 0) throw std::runtime_error("the server closed a connection");
    client.received.append(buffer, static_cast<size_t>(n));
    const size_t bytes = answer_bytes(client.received);
    if (bytes == 0) return;
    const double now = now_s();
    const bool ok = client.received.compare(0, 12, "HTTP/1.1 200") == 0;
    if (!ok && failed_++ == 0) std::fprintf(stderr, "%s\n", client.received.substr(0, 500).c_str());
    if (now >= measure_from_ && ok) times_.push_back(now - client.begin_s);
    client.received.erase(0, bytes);
    send_next(client);
  }

  void report(double seconds) {
    std::sort(times_.begin(), times_.end());
    const auto at = [&](double share) {
      return times_.empty() ? 0 : 1e3 * times_[static_cast<size_t>(share * static_cast<double>(times_.size() - 1))];
    };
    std::printf("clients %zu answers %zu per_s %.1f p50_ms %.2f p90_ms %.2f p99_ms %.2f failed %zu\n", clients_.size(),
                times_.size(), static_cast<double>(times_.size()) / seconds, at(0.5), at(0.9), at(0.99), failed_);
  }

  const std::vector<std::string> requests_;
  std::vector<Client> clients_;
  const int epoll_ = epoll_create1(0);
  size_t next_ = 0;
  double measure_from_ = 0;
  std::vector<double> times_;
  size_t failed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: http_load PORT CLIENTS SECONDS BODIES [WARM_SECONDS]\n");
    return 2;
  }
  try {
    Load load(std::atoi(argv[1]), std::strtoull(argv[2], nullptr, 10), read_requests(argv[4]));
    return load.run(argc > 5 ? std::atof(argv[5]) : 1.0, std::atof(argv[3])) ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "http_load: %s\n", error.what());
    return 1;
  }
}
