#include "tokenizer/tokenizer.h"

#include <simdjson.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "tokenizer/encoder.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/unicode.h"

namespace quern {
namespace {

// Symbols of a word are linked by 32-bit positions.
constexpr size_t kTextBytesMax = (size_t{1} << 31) - 2;

// What is read of a text to be cut grows by so much each time that it was not enough.
constexpr size_t kReadGrowth = 4;

size_t first_read_bytes(size_t room, std::string_view text) {
  return std::min(room, text.size()) * Encoder::kTokenBytes + Encoder::kBytesBeside;
}

Error too_long(const std::string& tokens, size_t tokens_max) {
  return invalid_argument("text has " + tokens + " tokens, the limit is " + std::to_string(tokens_max));
}

Result<void> check_bytes(size_t bytes) {
  if (bytes <= kTextBytesMax) return {};
  return invalid_argument("text has " + std::to_string(bytes) + " bytes, the limit is " +
                          std::to_string(kTextBytesMax));
}

Result<void> check_utf8(const char* what, std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return {};
  return invalid_argument(std::string(what) + " is not valid UTF-8 at byte " + std::to_string(valid_utf8_prefix(text)));
}

/// All ids of a text; kInvalidArgument when there are more than `room`, with `reserved` counted to both.
Result<std::vector<int32_t>> encode_all(const TokenizerTables& tables, std::string_view text, size_t room,
                                        size_t reserved) {
  Encoder encoder(tables, Encoder::kNoLimit, room);
  if (auto ok = encoder.add_text(text, Ending::kClosed); !ok) return ok.error();
  if (encoder.ids_at_least() <= room) return std::move(encoder.ids());
  const bool exact = encoder.ids_at_least() == encoder.ids().size();
  return too_long((exact ? "" : "at least ") + std::to_string(encoder.ids_at_least() + reserved), room + reserved);
}

/// The first `room` ids, or all when there are fewer. Reads the beginning of the text, as far as they are sure.
Result<std::vector<int32_t>> encode_first(const TokenizerTables& tables, std::string_view text, size_t room) {
  if (room == 0) return std::vector<int32_t>();
  for (size_t bytes = first_read_bytes(room, text); bytes < text.size() && can_stop_early(tables);
       bytes *= kReadGrowth) {
    Encoder encoder(tables, room);
    const size_t end = previous_code_point(text, bytes + 1);
    if (auto ok = encoder.add_text(text.substr(0, end), Ending::kOpen); !ok) return ok.error();
    std::vector<int32_t>& ids = encoder.ids();
    if (ids.size() < room) continue;
    ids.resize(room);
    return std::move(ids);
  }
  Encoder encoder(tables, room);
  if (auto ok = encoder.add_text(text, Ending::kClosed); !ok) return ok.error();
  encoder.ids().resize(std::min(encoder.ids().size(), room));
  return std::move(encoder.ids());
}

/// The last `room` ids, or all when there are fewer. Reads the end of the text, from where its ids are sure.
Result<std::vector<int32_t>> encode_last(const TokenizerTables& tables, std::string_view text, size_t room) {
  if (room == 0) return std::vector<int32_t>();
  for (size_t bytes = first_read_bytes(room, text);; bytes *= kReadGrowth) {
    const bool part = bytes < text.size() && can_stop_early(tables);
    const size_t begin = part ? last_safe_start(tables, text, text.size() - bytes) : 0;
    Encoder encoder(tables);
    if (auto ok = encoder.add_ending(text.substr(begin), begin > 0, part ? bytes : Encoder::kNoLimit); !ok) {
      return ok.error();
    }
    std::vector<int32_t>& ids = encoder.ids();
    if (ids.size() < room && !encoder.is_whole()) continue;
    if (ids.size() <= room) return std::move(ids);
    return std::vector<int32_t>(ids.end() - static_cast<ptrdiff_t>(room), ids.end());
  }
}

bool is_special(const TokenizerTables& tables, int32_t id) {
  return std::binary_search(tables.special_ids.begin(), tables.special_ids.end(), id);
}

}  // namespace

Result<Tokenizer> Tokenizer::from_json(std::string_view json, const std::string& name, TextRules rules) {
  auto parsed = parse_tokenizer_json(json, name, rules);
  if (!parsed) return parsed.error();
  static std::atomic<uint32_t> serials{0};
  auto tables = std::make_shared<TokenizerTables>(std::move(*parsed));
  tables->serial = ++serials;
  return Tokenizer(std::move(tables));
}

Result<void> Tokenizer::append_eos(int32_t id) {
  if (eos_id_) return {};
  if (!tables_->bpe.vocab.has(id))
    return invalid_argument("the end token " + std::to_string(id) + " is not in the vocabulary");
  eos_id_ = id;
  return {};
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view utf8, const EncodeOptions& options) const {
  return encode("", utf8, options);
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view prompt, std::string_view text,
                                               const EncodeOptions& options) const {
  const bool append_eos = options.add_special_tokens && appends_eos();
  const size_t reserved = append_eos ? 1 : 0;
  if (options.tokens_max < reserved) {
    return invalid_argument("tokens_max is 0, which leaves no room for the end-of-sequence token");
  }
  // What is too long by its bytes alone is refused before they are read.
  const size_t room = options.tokens_max - reserved;
  const bool cut = options.truncation != Truncation::kNone;
  if (const size_t least = min_tokens(prompt.size() + text.size()); !cut && least > room) {
    return too_long("at least " + std::to_string(least + reserved), options.tokens_max);
  }
  if (auto ok = check_bytes(prompt.size() + text.size()); !ok) return ok.error();
  if (auto ok = check_utf8("prompt", prompt); !ok) return ok.error();
  if (auto ok = check_utf8("text", text); !ok) return ok.error();
  std::string joined;
  if (!prompt.empty()) text = joined.append(prompt).append(text);
  auto ids = !cut                                       ? encode_all(*tables_, text, room, reserved)
             : options.truncation == Truncation::kRight ? encode_first(*tables_, text, room)
                                                        : encode_last(*tables_, text, room);
  if (!ids) return ids;
  if (append_eos) ids->push_back(*eos_id_);
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!tables_->bpe.vocab.has(ids[i])) {
      return invalid_argument("token " + std::to_string(i) + " has id " + std::to_string(ids[i]) +
                              ", which is not in the vocabulary of " + std::to_string(vocab_size()));
    }
    if (skip_special && is_special(*tables_, ids[i])) continue;
    bytes.append(tables_->bpe.vocab.bytes(ids[i]));
  }
  return replace_invalid_utf8(bytes);
}

std::optional<int32_t> Tokenizer::added_token_to_id(std::string_view text) const {
  for (const AddedTokens* tokens : {&tables_->raw_added, &tables_->normalized_added}) {
    const AddedTokens::Match added = tokens->find(text, 0);
    if (added.id >= 0 && added.begin == 0 && added.end == text.size()) return added.id;
  }
  return std::nullopt;
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view bytes) const {
  if (const auto added = added_token_to_id(bytes)) return added;
  const int32_t id = tables_->bpe.vocab.find(bytes);
  return id == Vocab::kNone ? std::nullopt : std::optional(id);
}

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const {
  if (!tables_->bpe.vocab.has(id)) return std::nullopt;
  return std::string(tables_->bpe.vocab.bytes(id));
}

size_t Tokenizer::vocab_size() const { return tables_->bpe.vocab.size(); }

size_t Tokenizer::min_tokens(size_t bytes) const {
  const size_t token_bytes_max = tables_->bpe.vocab.longest() * (tables_->nfc ? kNfcShrinkMax : 1);
  return bytes / token_bytes_max + (bytes % token_bytes_max != 0);
}

Tokenizer::Tokenizer(std::shared_ptr<const TokenizerTables> tables)
    : tables_(std::move(tables)), eos_id_(tables_->eos_id) {}

}  // namespace quern
