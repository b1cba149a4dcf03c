// The last gate before a vector leaves. Pure function; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "core/output.h"

namespace quern {

/// Width [D] as expected, every value finite, L2 norm 1 within kNormTolerance. `what` names the input in the error
/// (kInternal).
Result<void> check_output(const Output& output, int32_t width, const std::string& what);

}  // namespace quern
