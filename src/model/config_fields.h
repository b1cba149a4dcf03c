// The fields of the files of a model folder, and what becomes of one that nobody here has heard of.
//
// transformers keeps an unknown field of config.json and computes without it, so most of them are notes. But one that
// speaks of the computation ("logit_softcap", "use_qk_norm") was written for a forward pass that we do not have: it is
// refused by name unless it is off. Pure functions; any thread.
#pragma once

#include <span>
#include <string_view>

#include "model/json_file.h"

namespace quern {

/// Fields of config.json that are read, or that are known to change no vector: what transformers 4.51 to 5.x write.
extern const std::span<const std::string_view> kConfigFields;

/// Whether a field of this name says something about how vectors are computed.
bool speaks_of_computation(std::string_view key);

/// An Error for the first field that is not in `known`, is not off, and speaks of the computation.
Result<void> refuse_unknown(const JsonView& json, std::span<const std::string_view> known);

}  // namespace quern
