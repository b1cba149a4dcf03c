// Base64 of float vectors, the hot path of every answer to the official Python client. Pure functions.
#pragma once

#include <span>
#include <string>

namespace quern {

/// Appends the standard base64 (RFC 4648, padded) of the values as little-endian f32.
void append_base64(std::string& out, std::span<const float> values);

}  // namespace quern
