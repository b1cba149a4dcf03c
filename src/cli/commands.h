// The commands of the quern binary. Each returns the process's exit code: 0 done, 1 the work failed, 2 the call was
// wrong.
#pragma once

#include "cli/options.h"

namespace quern {

/// Picks the command named by argv[1] and runs it.
int run_command(int argc, char** argv);

int serve_command(const ServeOptions& options);
int embed_command(const EmbedOptions& options);
int tokenize_command(const TokenizeOptions& options);
int verify_command(const VerifyOptions& options);
int bench_command(const BenchOptions& options);

}  // namespace quern
