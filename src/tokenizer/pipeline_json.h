// Reads what stands around the model in tokenizer.json: normalizer, pre_tokenizer, post_processor, decoder.
//
// Owns nothing. Promises that a Sequence counts as the steps in it, however they are nested, and that every step is
// implemented, without effect on ids, or refused by name. Any thread.
#pragma once

#include <cstdint>
#include <optional>

#include "tokenizer/file_errors.h"
#include "tokenizer/splitter.h"

namespace quern {

struct Pipeline {
  Splitter splitter;
  bool nfc = false;
  std::optional<int32_t> eos_id;  // what the post_processor appends
};

Result<Pipeline> parse_pipeline(FileErrors::Element root, const FileErrors& errors);

}  // namespace quern
