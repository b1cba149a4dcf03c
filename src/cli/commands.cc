#include "cli/commands.h"

#include <cstdio>
#include <string>
#include <string_view>

#include "base/version.h"
#include "cli/launch_flags.h"
#include "cli/nearest.h"

namespace quern {
namespace {

constexpr const char* kUsage =
    "quern grinds text into vectors: the Qwen3-Embedding models, served.\n"
    "\n"
    "usage: quern COMMAND [FLAGS]\n"
    "\n"
    "  serve      serve embeddings over HTTP (OpenAI's /v1/embeddings)\n"
    "  embed      embed a file of texts into JSON Lines or .npy\n"
    "  tokenize   show how a text is cut into tokens\n"
    "  verify     check a model against its known answers\n"
    "  bench      measure this machine\n"
    "\n"
    "  quern serve --model-path DIR                      the server, on port 30000\n"
    "  quern embed --model-path DIR -i texts.txt -o v.npy\n"
    "\n"
    "`quern COMMAND --help` lists a command's flags; `quern help launch-lines` what other servers' flags become.\n";

template <typename Options>
int parse_and_run(int argc, char** argv, int (*command)(const Options&)) {
  int exit_code = 0;
  const auto options = parse_options<Options>(argc - 1, argv + 1, exit_code);
  return options ? command(*options) : exit_code;
}

}  // namespace

int run_command(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  if (name == "serve") return parse_and_run(argc, argv, serve_command);
  if (name == "embed") return parse_and_run(argc, argv, embed_command);
  if (name == "tokenize") return parse_and_run(argc, argv, tokenize_command);
  if (name == "verify") return parse_and_run(argc, argv, verify_command);
  if (name == "bench") return parse_and_run(argc, argv, bench_command);
  if (name == "help" && argc > 2 && std::string_view(argv[2]) == "launch-lines") {
    std::fputs(launch_flags_table().c_str(), stdout);
    return 0;
  }
  if (name == "help" || name == "--help" || name == "-h") {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (name == "version" || name == "--version") {
    std::printf("quern %s (%s)\n", kVersion, kCommit);
    return 0;
  }
  if (name.empty()) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const std::string nearest = nearest_name(name, {"serve", "embed", "tokenize", "verify", "bench", "help", "version"});
  std::fprintf(stderr, "quern: unknown command: %s%s%s\nrun `quern --help` for the list\n", name.c_str(),
               nearest.empty() ? "" : "; did you mean ", nearest.empty() ? "" : (nearest + "?").c_str());
  return 2;
}

}  // namespace quern
