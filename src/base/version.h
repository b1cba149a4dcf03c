// What this binary is: shown by --version, /info and the build_info metric.
#pragma once

namespace quern {

extern const char* const kVersion;  // as in CHANGELOG.md
extern const char* const kCommit;   // the commit that was built, "-dirty" behind it where files differed; or "unknown"

}  // namespace quern
