#include "tokenizer/tokenizer_json.h"

#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "tokenizer/unicode.h"

namespace quern {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;

// An id above this is a mistake in the file, not a vocabulary.
constexpr int64_t kTokenIdMax = (1 << 24) - 1;

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

/// The bytes a token stands for. One with a character outside the alphabet (an added token) stands for itself.
void token_bytes(std::string_view token, std::string& bytes) {
  static const ByteAlphabet alphabet;
  bytes.clear();
  for (size_t at = 0; at < token.size();) {
    const char32_t code_point = next_code_point(token, at);
    const int byte = code_point < std::size(alphabet.byte_of) ? alphabet.byte_of[code_point] : -1;
    if (byte < 0) {
      bytes = token;
      return;
    }
    bytes.push_back(static_cast<char>(byte));
  }
}

/// A JSON value cut to fit a message.
std::string show(element value) {
  std::string text = simdjson::to_string(value);
  if (text.size() > 80) text = text.substr(0, valid_utf8_prefix(std::string_view(text).substr(0, 77))) + "...";
  return text;
}

class Parser {
 public:
  explicit Parser(const std::string& name) : name_(name) {}
  Result<TokenizerTables> parse(std::string_view json);

 private:
  /// Nested fields are named by path ("model.merges[3]").
  Error error(const std::string& field, const std::string& what) const {
    return invalid_argument(name_ + ": " + field + ": " + what, field);
  }
  Error refused(const std::string& field, element value, const std::string& allowed) const {
    return error(field, show(value) + " is not implemented; allowed: " + allowed);
  }
  static bool missing(element value) { return value.is_null(); }
  static std::string_view type_of(element value) {
    std::string_view type;
    if (value["type"].get(type)) return "";
    return type;
  }
  /// A field that must be absent, null or `allowed`.
  template <typename T>
  Result<void> require(element object, const std::string& path, const char* field, T allowed, const char* shown) const;

  Result<void> parse_normalizer(element root);
  Result<Splitter> parse_pre_tokenizer(element root);
  Result<Splitter> parse_split(element split, const std::string& path);
  Result<void> check_byte_level(element value, const std::string& path) const;
  Result<void> check_decoder(element root) const;
  Result<Bpe> parse_model(element root);
  Result<void> parse_merges(element model, Bpe& bpe) const;
  Result<void> parse_merge(element merge, const std::string& field, uint32_t rank, Bpe& bpe) const;
  Result<void> parse_added_tokens(element root, TokenizerTables& tables) const;
  Result<void> parse_post_processor(element root);
  Result<void> parse_template(element value, const std::string& path);

  const std::string& name_;
  bool nfc_ = false;
  std::optional<int32_t> eos_id_;
};

template <typename T>
Result<void> Parser::require(element object, const std::string& path, const char* field, T allowed,
                             const char* shown) const {
  element value;
  if (object[field].get(value) || value.is_null()) return {};
  T actual;
  if (value.get(actual) || actual != allowed) return refused(path + "." + field, value, shown);
  return {};
}

Result<void> Parser::parse_normalizer(element root) {
  element value;
  if (root["normalizer"].get(value) || missing(value)) return {};
  if (type_of(value) != "NFC") return refused("normalizer", value, "null, {\"type\":\"NFC\"}");
  nfc_ = true;
  return {};
}

Result<void> Parser::check_byte_level(element value, const std::string& path) const {
  if (type_of(value) != "ByteLevel") return refused(path, value, "ByteLevel");
  bool flag = true;
  if (value["add_prefix_space"].get(flag) || flag) return error(path + ".add_prefix_space", "must be false");
  flag = true;
  if (value["use_regex"].get(flag) || flag) return error(path + ".use_regex", "must be false");
  return {};
}

Result<Splitter> Parser::parse_split(element split, const std::string& path) {
  if (type_of(split) != "Split") return refused(path, split, "Split");
  std::string_view text;
  if (split["behavior"].get(text) || text != "Isolated") return error(path + ".behavior", "must be \"Isolated\"");
  bool invert = true;
  if (split["invert"].get(invert) || invert) return error(path + ".invert", "must be false");
  element pattern;
  if (split["pattern"].get(pattern)) return error(path + ".pattern", "missing");
  if (pattern["Regex"].get(text)) return refused(path + ".pattern", pattern, "{\"Regex\":\"...\"}");
  auto splitter = Splitter::make(std::string(text));
  if (!splitter) return error(path + ".pattern.Regex", splitter.error().message);
  return splitter;
}

Result<Splitter> Parser::parse_pre_tokenizer(element root) {
  const std::string allowed = "Sequence[Split, ByteLevel]";
  element value;
  if (root["pre_tokenizer"].get(value)) return error("pre_tokenizer", "missing; allowed: " + allowed);
  array steps;
  if (type_of(value) != "Sequence" || value["pretokenizers"].get(steps) || steps.size() != 2) {
    return refused("pre_tokenizer", value, allowed);
  }
  const std::string path = "pre_tokenizer.pretokenizers";
  if (auto ok = check_byte_level(steps.at(1).value_unsafe(), path + "[1]"); !ok) return ok.error();
  return parse_split(steps.at(0).value_unsafe(), path + "[0]");
}

Result<void> Parser::check_decoder(element root) const {
  element value;
  if (root["decoder"].get(value) || missing(value)) return {};
  if (type_of(value) != "ByteLevel") return refused("decoder", value, "null, ByteLevel");
  return {};
}

Result<Bpe> Parser::parse_model(element root) {
  element model;
  if (root["model"].get(model)) return error("model", "missing");
  if (type_of(model) != "BPE") return error("model.type", "must be \"BPE\"");
  element null_only;
  if (!model["unk_token"].get(null_only) && !missing(null_only)) return refused("model.unk_token", null_only, "null");
  if (auto ok = require(model, "model", "dropout", 0.0, "null, 0.0"); !ok) return ok.error();
  for (const char* field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (auto ok = require(model, "model", field, std::string_view(""), "null, \"\""); !ok) return ok.error();
  }
  for (const char* field : {"fuse_unk", "byte_fallback"}) {
    if (auto ok = require(model, "model", field, false, "false"); !ok) return ok.error();
  }

  simdjson::dom::object vocab;
  if (model["vocab"].get(vocab)) return error("model.vocab", "must be an object of token to id");
  array merges;
  if (model["merges"].get(merges)) return error("model.merges", "must be an array");
  // size() of a simdjson array saturates at 2^24 - 1; count what is there.
  Bpe bpe{Vocab(vocab.size()), MergeTable(static_cast<size_t>(std::distance(merges.begin(), merges.end()))), {}};
  std::string bytes;
  for (const auto& [token, value] : vocab) {
    const std::string field = "model.vocab[\"" + std::string(token) + "\"]";
    int64_t id = -1;
    if (value.get(id) || id < 0 || id > kTokenIdMax) {
      return error(field, "must be an id from 0 to " + std::to_string(kTokenIdMax));
    }
    token_bytes(token, bytes);
    if (!bpe.vocab.add(bytes, static_cast<int32_t>(id))) {
      return error(field, "its id " + std::to_string(id) + " or its bytes belong to another token already");
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
  for (element merge : array(model["merges"])) {
    if (auto ok = parse_merge(merge, "model.merges[" + std::to_string(rank) + "]", rank, bpe); !ok) return ok;
    ++rank;
  }
  return {};
}

Result<void> Parser::parse_merge(element merge, const std::string& field, uint32_t rank, Bpe& bpe) const {
  std::string_view left, right, both;
  array pair;
  if (!merge.get(both)) {
    const size_t space = both.find(' ');
    if (space == both.npos || both.find(' ', space + 1) != both.npos) {
      return error(field, "must be two tokens with one space between");
    }
    left = both.substr(0, space);
    right = both.substr(space + 1);
  } else if (merge.get(pair) || pair.size() != 2 || pair.at(0).get(left) || pair.at(1).get(right)) {
    return error(field, "must be \"a b\" or [\"a\", \"b\"]");
  }
  std::string bytes, right_bytes;
  token_bytes(left, bytes);
  token_bytes(right, right_bytes);
  const int32_t left_id = bpe.vocab.find(bytes);
  const int32_t right_id = bpe.vocab.find(right_bytes);
  const int32_t id = bpe.vocab.find(bytes + right_bytes);
  if (left_id == Vocab::kNone || right_id == Vocab::kNone || id == Vocab::kNone) {
    return error(field, show(merge) + ": both parts and what they make must be in model.vocab");
  }
  bpe.merges.set(left_id, right_id, rank, id);
  return {};
}

Result<void> Parser::parse_added_tokens(element root, TokenizerTables& tables) const {
  array tokens;
  element present;
  if (root["added_tokens"].get(present) || missing(present)) return {};
  if (present.get(tokens)) return error("added_tokens", "must be an array");
  size_t index = 0;
  std::string buffer;
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
      if (auto ok = require(token, field, flag, false, "false"); !ok) return ok;
    }
    bool special = false;
    bool normalized = false;
    if (token["special"].get(special)) return error(field + ".special", "must be true or false");
    if (token["normalized"].get(normalized)) return error(field + ".normalized", "must be true or false");
    const auto id32 = static_cast<int32_t>(id);
    if (tables.bpe.vocab.find(content) != id32 && !tables.bpe.vocab.add(content, id32, /*is_word=*/false)) {
      return error(field, "its id " + std::to_string(id) + " or its content belongs to another token already");
    }
    if (special) tables.special_ids.push_back(id32);
    if (normalized) {
      tables.normalized_added.add(nfc_ ? to_nfc(content, buffer) : content, id32);
    } else {
      tables.raw_added.add(content, id32);
    }
  }
  std::sort(tables.special_ids.begin(), tables.special_ids.end());
  return {};
}

Result<void> Parser::parse_template(element value, const std::string& path) {
  const std::string allowed = "the sequence A, then at most one special token";
  array items;
  if (value["single"].get(items)) return error(path + ".single", "missing");
  element sequence;
  if (items.size() < 1 || items.size() > 2 || items.at(0)["Sequence"].get(sequence)) {
    return refused(path + ".single", element(value["single"]), allowed);
  }
  if (items.size() == 1) return {};
  std::string_view token;
  if (items.at(1)["SpecialToken"]["id"].get(token)) return refused(path + ".single", element(value["single"]), allowed);
  simdjson::dom::object special_tokens;
  array ids;
  int64_t id = -1;
  if (value["special_tokens"].get(special_tokens) || special_tokens[token]["ids"].get(ids) || ids.size() != 1 ||
      ids.at(0).get(id) || id < 0 || id > kTokenIdMax) {
    return error(path + ".special_tokens", "must give \"" + std::string(token) + "\" exactly one id");
  }
  eos_id_ = static_cast<int32_t>(id);
  return {};
}

Result<void> Parser::parse_post_processor(element root) {
  const std::string allowed = "null, ByteLevel, TemplateProcessing, Sequence[ByteLevel, TemplateProcessing]";
  element value;
  if (root["post_processor"].get(value) || missing(value)) return {};
  // ByteLevel only moves offsets here, and ids have none.
  if (type_of(value) == "ByteLevel") return {};
  if (type_of(value) == "TemplateProcessing") return parse_template(value, "post_processor");
  array steps;
  if (type_of(value) != "Sequence" || value["processors"].get(steps) || steps.size() != 2 ||
      type_of(steps.at(0).value_unsafe()) != "ByteLevel" ||
      type_of(steps.at(1).value_unsafe()) != "TemplateProcessing") {
    return refused("post_processor", value, allowed);
  }
  return parse_template(steps.at(1).value_unsafe(), "post_processor.processors[1]");
}

Result<TokenizerTables> Parser::parse(std::string_view json) {
  simdjson::dom::parser parser;
  element root;
  if (const auto code = parser.parse(json.data(), json.size()).get(root)) {
    return invalid_argument(name_ + ": not JSON: " + simdjson::error_message(code));
  }
  if (!root.is_object()) return invalid_argument(name_ + ": must be a JSON object");
  // "truncation" and "padding" are left alone: how a request is cut is the caller's EncodeOptions, and nothing is
  // padded.
  if (auto ok = parse_normalizer(root); !ok) return ok.error();
  auto splitter = parse_pre_tokenizer(root);
  if (!splitter) return splitter.error();
  if (auto ok = check_decoder(root); !ok) return ok.error();
  auto bpe = parse_model(root);
  if (!bpe) return bpe.error();
  if (auto ok = parse_post_processor(root); !ok) return ok.error();
  TokenizerTables tables{std::move(*bpe), std::move(*splitter), nfc_, {}, {}, {}, eos_id_};
  if (auto ok = parse_added_tokens(root, tables); !ok) return ok.error();
  if (eos_id_ && !tables.bpe.vocab.has(*eos_id_)) {
    return error("post_processor", "appends id " + std::to_string(*eos_id_) + ", which no token has");
  }
  return tables;
}

}  // namespace

Result<TokenizerTables> parse_tokenizer_json(std::string_view json, const std::string& name) {
  return Parser(name).parse(json);
}

}  // namespace quern
