// Text from outside (a client, a file) on its way into messages, logs and JSON: never whole, never raw. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace quern {

/// How many bytes of somebody else's text a message repeats.
constexpr size_t kExcerptBytesMax = 64;

/// `text` as a message may repeat it: at most kExcerptBytesMax bytes, cut at the end of a code point and then
/// followed by "..."; control characters and bytes that are not UTF-8 become U+FFFD. No quotation marks are added.
std::string excerpt(std::string_view text);

/// Length of the valid UTF-8 sequence at the start of `text`, 0 when there is none. `text` is not empty.
size_t utf8_length(std::string_view text);

/// Bytes before the first that is not UTF-8, or all.
size_t valid_utf8_bytes(std::string_view text);

/// Appends `text` as the inside of a JSON string: quotes, backslashes and control characters escaped; bytes that are
/// not UTF-8 become U+FFFD.
void append_json_escaped(std::string& out, std::string_view text);

}  // namespace quern
