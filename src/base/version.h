// What this binary is: shown by --version, /info and the build_info metric.
#pragma once

namespace quern {

extern const char* const kVersion;  // as in CHANGELOG.md
extern const char* const kCommit;   // git commit at configure time, or "unknown"

}  // namespace quern
