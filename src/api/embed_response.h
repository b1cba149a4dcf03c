// EmbedResponse: from full Vectors to the JSON body. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "api/embed_request.h"
#include "base/result.h"
#include "core/output.h"

namespace quern {

/// The last gate: width [D] as expected, every value finite, L2 norm 1 within 1e-3. `what` names the input in the error
/// (kInternal).
Result<void> check_vector(const Output& vector, int32_t width, const std::string& what);

/// Keeps the first `dimensions` values and, if asked, makes their norm 1 again (Matryoshka; Kusupati et al. 2022).
Result<void> cut_vector(Output& vector, int32_t dimensions, bool normalize, const std::string& what);

/// The OpenAI list object. `vectors` are already cut; `tokens` counts those of all inputs, EOS included.
std::string write_embed_response(const EmbedRequest& request, std::span<const Output> vectors, int64_t tokens);

/// About how long that body will be, in bytes.
int64_t embed_response_bytes(const EmbedRequest& request, size_t vectors);

}  // namespace quern
