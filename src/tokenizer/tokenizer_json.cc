#include "tokenizer/tokenizer_json.h"

#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "tokenizer/file_errors.h"
#include "tokenizer/pipeline_json.h"
#include "tokenizer/unicode.h"

namespace quern {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;

/// The printable alphabet of byte-level BPE (GPT-2's bytes_to_unicode): printable Latin-1 bytes stand for themselves,
/// the others for U+0100 and up. Code point -> byte, -1 where none.
struct ByteAlphabet {
  int16_t byte_of[0x144];
  ByteAlphabet() {
    std::fill(std::begin(byte_of), std::end(byte_of), int16_t{-1});
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      byte_of[printable ? byte : next++] = static_cast<int16_t>(byte);
    }
  }
};

/// The bytes a token stands for. One with a character outside the alphabet stands for itself, and false is returned.
bool token_bytes(std::string_view token, std::string& bytes) {
  static const ByteAlphabet alphabet;
  bytes.clear();
  for (size_t at = 0; at < token.size();) {
    const char32_t code_point = next_code_point(token, at);
    const int byte = code_point < std::size(alphabet.byte_of) ? alphabet.byte_of[code_point] : -1;
    if (byte < 0) {
      bytes = token;
      return false;
    }
    bytes.push_back(static_cast<char>(byte));
  }
  return true;
}

/// Says what a file is that cannot be JSON, as far as it shows.
std::string not_json(std::string_view text, simdjson::error_code code) {
  if (text.starts_with("\xEF\xBB\xBF"))
    return "begins with a byte-order mark (BOM), which is not JSON; save it without";
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF"))
    return "is UTF-16, by its byte-order mark; JSON is UTF-8";
  return std::string("not JSON: ") + simdjson::error_message(code);
}

std::string vocab_field(std::string_view token) { return "model.vocab[\"" + excerpt(token) + "\"]"; }

/// `left_bytes` and `right_bytes` are scratch. An Error says what is wrong, not where.
Result<void> parse_merge(element merge, std::string& left_bytes, std::string& right_bytes, uint32_t rank, Bpe& bpe) {
  std::string_view left, right, both;
  array pair;
  if (!merge.get(both)) {
    const size_t space = both.find(' ');
    if (space == both.npos || both.find(' ', space + 1) != both.npos) {
      return invalid_argument("must be two tokens with one space between");
    }
    left = both.substr(0, space);
    right = both.substr(space + 1);
  } else if (merge.get(pair) || pair.size() != 2 || pair.at(0).get(left) || pair.at(1).get(right)) {
    return invalid_argument("must be \"a b\" or [\"a\", \"b\"]");
  }
  token_bytes(left, left_bytes);
  token_bytes(right, right_bytes);
  const int32_t left_id = bpe.vocab.find(left_bytes);
  const int32_t right_id = bpe.vocab.find(right_bytes);
  const int32_t id = bpe.vocab.find(left_bytes.append(right_bytes));
  if (left_id == Vocab::kNone || right_id == Vocab::kNone || id == Vocab::kNone) {
    return invalid_argument(excerpt(simdjson::to_string(merge)) +
                            ": both parts and what they make must be in model.vocab");
  }
  bpe.merges.set(left_id, right_id, rank, id);
  return {};
}

constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

class Parser {
 public:
  Parser(const std::string& name, TextRules rules) : errors_(name), rules_(rules) {}
  Result<TokenizerTables> parse(std::string_view json);

 private:
  Error error(const std::string& field, const std::string& what) const { return errors_.field(field, what); }

  Result<Bpe> parse_model(element root);
  Result<void> parse_merges(element model, Bpe& bpe) const;
  Result<void> parse_added_tokens(element root, TokenizerTables& tables) const;

  const FileErrors errors_;
  const TextRules rules_;
};

Result<Bpe> Parser::parse_model(element root) {
  element model;
  if (root["model"].get(model)) return error("model", "missing");
  if (type_of(model) != "BPE") return error("model.type", "must be \"BPE\"");
  // unk_token, fuse_unk and byte_fallback speak of characters without a token; all 256 bytes must have one here.
  if (auto ok = errors_.require(model, "model", "dropout", 0.0, "null, 0.0"); !ok) return ok.error();
  for (const char* field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (auto ok = errors_.require(model, "model", field, std::string_view(""), "null, \"\""); !ok) return ok.error();
  }

  simdjson::dom::object vocab;
  if (model["vocab"].get(vocab)) return error("model.vocab", "must be an object of token to id");
  array merges;
  if (model["merges"].get(merges)) return error("model.merges", "must be an array");
  // size() of a simdjson array saturates at 2^24 - 1; count what is there.
  Bpe bpe{Vocab(vocab.size()), MergeTable(static_cast<size_t>(std::distance(merges.begin(), merges.end()))), {}};
  std::string bytes;
  for (const auto& [token, value] : vocab) {
    int64_t id = -1;
    if (value.get(id) || id < 0 || id > kTokenIdMax) {
      return error(vocab_field(token), "must be an id from 0 to " + std::to_string(kTokenIdMax));
    }
    token_bytes(token, bytes);
    if (!bpe.vocab.add(bytes, static_cast<int32_t>(id))) {
      return error(vocab_field(token),
                   "its id " + std::to_string(id) + " or its bytes belong to another token already");
    }
  }
  bpe.token_bytes_max = bpe.vocab.longest();
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    bpe.byte_ids[byte] = bpe.vocab.find({&c, 1});
    if (bpe.byte_ids[byte] == Vocab::kNone) {
      return error("model.vocab", "has no token for byte " + std::to_string(byte) + "; all 256 are needed");
    }
  }
  bool ignore_merges = false;
  if (!model["ignore_merges"].get(ignore_merges)) bpe.ignore_merges = ignore_merges;
  if (auto ok = parse_merges(model, bpe); !ok) return ok.error();
  return bpe;
}

Result<void> Parser::parse_merges(element model, Bpe& bpe) const {
  uint32_t rank = 0;
  std::string left, right;
  for (element merge : array(model["merges"])) {
    if (auto ok = parse_merge(merge, left, right, rank, bpe); !ok) {
      return error("model.merges[" + std::to_string(rank) + "]", ok.error().message);
    }
    ++rank;
  }
  return {};
}

Result<void> Parser::parse_added_tokens(element root, TokenizerTables& tables) const {
  array tokens;
  element present;
  if (root["added_tokens"].get(present) || present.is_null()) return {};
  if (present.get(tokens)) return error("added_tokens", "must be an array");
  Vocab& vocab = tables.bpe.vocab;
  auto next_id = static_cast<int32_t>(vocab.count());
  size_t index = 0;
  std::string buffer, bytes;
  for (element token : tokens) {
    const std::string field = "added_tokens[" + std::to_string(index++) + "]";
    std::string_view content;
    int64_t id = -1;
    if (token["content"].get(content) || content.empty())
      return error(field + ".content", "must be a non-empty string");
    if (token["id"].get(id) || id < 0 || id > kTokenIdMax) {
      return error(field + ".id", "must be an id from 0 to " + std::to_string(kTokenIdMax));
    }
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
      if (auto ok = errors_.require(token, field, flag, false, "false"); !ok) return ok;
    }
    bool special = false;
    bool normalized = false;
    if (token["special"].get(special)) return error(field + ".special", "must be true or false");
    if (token["normalized"].get(normalized)) return error(field + ".normalized", "must be true or false");
    const auto id32 = static_cast<int32_t>(id);
    // The reference looks the content up in model.vocab, in the file's alphabet, or else counts on: it does not read
    // the id. Another one there would mean other ids than the reference's.
    const bool spelled = token_bytes(content, bytes);
    int32_t expected = vocab.find(bytes);
    if (!spelled && expected != id32) expected = Vocab::kNone;
    const bool is_new = expected == Vocab::kNone;
    if (is_new) expected = next_id;
    if (expected != id32) {
      return error(field + ".id", "is " + std::to_string(id) + ", but by model.vocab and the tokens before, it is " +
                                      std::to_string(expected));
    }
    if (is_new && !vocab.add_hidden(content, id32)) {
      return error(field + ".id", std::to_string(id) + " belongs to another token already");
    }
    next_id = std::max(next_id, id32 + 1);
    if (special) tables.special_ids.push_back(id32);
    if (normalized) {
      tables.normalized_added.add(tables.nfc ? to_nfc(content, buffer) : content, id32);
    } else {
      tables.raw_added.add(content, id32);
    }
  }
  std::sort(tables.special_ids.begin(), tables.special_ids.end());
  return {};
}

Result<TokenizerTables> Parser::parse(std::string_view json) {
  simdjson::dom::parser parser;
  element root;
  // Some versions of simdjson skip a byte-order mark; the reference does not.
  const bool marked = json.starts_with("\xEF\xBB\xBF");
  const auto code = parser.parse(json.data(), json.size()).get(root);
  if (code || marked) return errors_.file(not_json(json, code));
  if (!root.is_object()) return errors_.file("must be a JSON object");
  // "truncation" and "padding" are left alone: how a text is cut is the caller's EncodeOptions, and nothing is padded.
  auto pipeline = parse_pipeline(root, errors_);
  if (!pipeline) return pipeline.error();
  auto bpe = parse_model(root);
  if (!bpe) return bpe.error();
  if (rules_ == TextRules::kQwen2) {
    pipeline->nfc = true;
    pipeline->splitter = Splitter::make(kQwen2Pattern).value();
    bpe->ignore_merges = false;
  }
  TokenizerTables tables{std::move(*bpe), std::move(pipeline->splitter), pipeline->nfc, {}, {}, {}, pipeline->eos_id};
  if (auto ok = parse_added_tokens(root, tables); !ok) return ok.error();
  if (tables.eos_id && !tables.bpe.vocab.has(*tables.eos_id)) {
    return error("post_processor", "appends id " + std::to_string(*tables.eos_id) + ", which no token has");
  }
  return tables;
}

}  // namespace

Result<TokenizerTables> parse_tokenizer_json(std::string_view json, const std::string& name, TextRules rules) {
  return Parser(name, rules).parse(json);
}

}  // namespace quern
