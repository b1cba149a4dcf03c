// The OpenAI dialect: POST /v1/embeddings and its other addresses. Pure functions; any thread.
#pragma once

#include "api/codec.h"

namespace quern {

extern const Codec kOpenaiCodec;

Result<CallPlan> parse_openai_embed(const CodecInput& input);
std::string write_openai_embed(const CallPlan& plan, std::span<const Output> outputs, int64_t tokens);
int64_t openai_embed_bytes(const CallPlan& plan);

}  // namespace quern
