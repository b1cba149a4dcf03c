#include "base/version.h"

namespace quern {

const char* const kVersion = QUERN_VERSION;
const char* const kCommit = QUERN_COMMIT;

}  // namespace quern
