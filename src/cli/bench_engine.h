// The engine's own rate: a fixed number of inputs in flight, without tokenizer and HTTP. What a server in front of it
// is compared with.
#pragma once

#include <vector>

#include "base/result.h"
#include "engine/engine.h"

namespace quern {

/// Inputs per second while `in_flight` of `inputs`, each in its turn, are always in the engine. Drains the engine at
/// the end. An Error when a Job failed.
Result<double> closed_loop_inputs_per_second(Engine& engine, const std::vector<std::vector<int32_t>>& inputs,
                                             int in_flight, double seconds);

}  // namespace quern
