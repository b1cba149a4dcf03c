// Truncation: what to do with an input of more tokens than its limit. One word for the tokenizer and the API.
#pragma once

namespace quern {

enum class Truncation {
  kNone,   // an error
  kLeft,   // drop tokens at the start (of prompt and text together)
  kRight,  // drop tokens at the end
};

}  // namespace quern
