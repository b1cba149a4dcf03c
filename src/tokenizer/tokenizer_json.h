// Reads tokenizer.json into the tables that the tokenizer runs on.
//
// Owns nothing. Promises that everything in the file is either implemented or refused by name. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/splitter.h"
#include "tokenizer/tokenizer.h"

namespace quern {

struct TokenizerTables {
  Bpe bpe;
  Splitter splitter;
  bool nfc = false;
  AddedTokens raw_added;             // searched in the text as it came
  AddedTokens normalized_added;      // searched after normalization
  std::vector<int32_t> special_ids;  // sorted
  std::optional<int32_t> eos_id;
  uint32_t serial = 0;  // tells the tokenizers of one process apart in the word cache
};

/// `name` stands for the file in messages. kInvalidArgument naming the field at fault.
Result<TokenizerTables> parse_tokenizer_json(std::string_view json, const std::string& name,
                                             TextRules rules = TextRules::kOfFile);

}  // namespace quern
