#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>

#include "cli/commands.h"

namespace {

/// A process may be started without some of its standard streams. The next file or socket that it opens would then be
/// one of them: a log line would go to a client. So each of their numbers is taken; reading or writing such a stream
/// fails as before, only that what is said on stderr is said to nobody.
bool take_standard_streams() {
  constexpr int kModes[] = {O_WRONLY, O_RDONLY, O_WRONLY};  // of stdin, stdout, stderr
  for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
    if (::fcntl(number, F_GETFD) != -1 || errno != EBADF) continue;
    if (::open("/dev/null", kModes[number]) != number) return false;  // the lowest number that is free
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (!take_standard_streams()) return 1;  // and nowhere to say why
  try {
    return quern::run_command(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "quern: %s\n", error.what());
    return 1;
  }
}
