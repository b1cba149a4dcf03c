// A tokenizer.json small enough to build in memory, for the tests and the fuzzer: 256 bytes, a few merges, <eos>, <x>.
//
// Owns nothing. Any thread.
#pragma once

#include <string>

#include "tokenizer/unicode.h"

namespace quern {

constexpr const char* kQwenPatternJson =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";

/// Ids: the bytes in order, then ab 256, abc 257, "aa" 258, "aaaa" 259, <eos> 260 (special), <x> 261 (not special).
inline std::string tiny_tokenizer_json() {
  std::string vocab;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string key;
    if (byte == '"' || byte == '\\') key.push_back('\\');
    append_utf8(key, static_cast<char32_t>(printable ? byte : next++));
    vocab.append("\"").append(key).append("\":").append(std::to_string(byte)).append(",");
  }
  return R"({"added_tokens":[{"id":260,"content":"<eos>","single_word":false,"lstrip":false,"rstrip":false,)"
         R"("normalized":false,"special":true},{"id":261,"content":"<x>","single_word":false,"lstrip":false,)"
         R"("rstrip":false,"normalized":true,"special":false}],"normalizer":{"type":"NFC"},)"
         R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":")" +
         std::string(kQwenPatternJson) +
         R"("},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},)"
         R"("post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":0}},)"
         R"({"SpecialToken":{"id":"<eos>","type_id":0}}],"special_tokens":{"<eos>":{"id":"<eos>","ids":[260]}}},)"
         R"("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","dropout":null,"unk_token":null,)"
         R"("fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{)" +
         vocab + R"("ab":256,"abc":257,"aa":258,"aaaa":259},"merges":["a b",["ab","c"],["a","a"],"aa aa"]}})";
}

}  // namespace quern
