#include "base/version.h"

#include "build_commit.h"  // written by each build, cmake/commit.cmake

namespace quern {

const char* const kVersion = QUERN_VERSION;
const char* const kCommit = QUERN_COMMIT;

}  // namespace quern
