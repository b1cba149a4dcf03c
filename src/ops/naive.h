// The readable oracle: every op as its formula says, one thread, plain loops. Kept to judge the fast ones.
#pragma once

#include <memory>

#include "ops/ops.h"

namespace quern {

std::unique_ptr<Ops> make_naive_ops();

}  // namespace quern
