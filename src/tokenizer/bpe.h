// Byte-level BPE: the vocabulary, the merges, and the merging of one word.
//
// Owns token bytes, the merge table and their indexes; immutable once built. encode_word() is exact: the merge of
// lowest rank first, leftmost among equals, whatever order the ranks have. Any thread.
//
// Why a long word can be merged window by window, and why its first tokens can be known before its end. The encoding of
// a text is the one sequence of tokens in which each token alone, and each two neighbours alone, encode to themselves:
// the first merge across a border between two tokens would be the next merge of those two alone as well, since merges
// elsewhere leave them as they are. So (1) between two of its borders an encoding is the encoding of that part; and (2)
// encodings of overlapping windows that share a token, same place and same id, join there into the encoding of both.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// Token bytes <-> id. Tokens are held as the bytes they stand for, not in the printable alphabet of tokenizer.json.
class Vocab {
 public:
  static constexpr int32_t kNone = -1;

  explicit Vocab(size_t tokens_max_hint);
  /// False when the bytes or the id are taken.
  bool add(std::string_view bytes, int32_t id);
  /// A token that find() does not find, and whose bytes another may have. False when the id is taken.
  bool add_hidden(std::string_view bytes, int32_t id);
  int32_t find(std::string_view bytes) const;
  /// The bytes of a token; an id without a token is told by has().
  std::string_view bytes(int32_t id) const;
  bool has(int32_t id) const;
  /// One more than the largest id.
  size_t size() const { return spans_.size(); }
  /// How many tokens find() finds.
  size_t count() const { return listed_; }
  /// Bytes of the longest token.
  size_t longest() const { return longest_; }

 private:
  struct Span {
    uint32_t begin = 0;
    uint32_t size = 0;
    bool used = false;
    bool hidden = false;
  };
  size_t slot_of(std::string_view bytes) const;
  void grow();

  std::string arena_;
  std::vector<Span> spans_;     // by id
  std::vector<int32_t> slots_;  // open addressing, a power of two
  size_t listed_ = 0;
  size_t longest_ = 0;
};

/// (left id, right id) -> (rank, id of the pair): open addressing, 16 bytes a slot.
class MergeTable {
 public:
  struct Merge {
    uint64_t pair;
    uint32_t rank;
    int32_t id;
  };
  static constexpr uint32_t kNoRank = UINT32_MAX;

  explicit MergeTable(size_t merges);
  /// A pair that is there already takes the new rank, as in `tokenizers`.
  void set(int32_t left, int32_t right, uint32_t rank, int32_t id);
  /// rank is kNoRank when the pair does not merge.
  const Merge& find(int32_t left, int32_t right) const { return slots_[slot_of(key(left, right))]; }

 private:
  static uint64_t key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t pair) const {
    size_t slot = pair * 0x9E3779B97F4A7C15u >> shift_;
    while (slots_[slot].rank != kNoRank && slots_[slot].pair != pair) slot = (slot + 1) & (slots_.size() - 1);
    return slot;
  }

  int shift_;
  std::vector<Merge> slots_;
};

struct Bpe {
  Vocab vocab;
  MergeTable merges;
  std::array<int32_t, 256> byte_ids;  // the token of each single byte
  bool ignore_merges = false;         // a word that is a token is that token, whatever the merges say
  size_t token_bytes_max = 0;         // no merge makes a token of more bytes

  /// Appends the ids of one word: time n log n in its bytes, less where it repeats itself; memory for some windows
  /// beside the ids.
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

  /// `begin` is the beginning of a word that may go on. Appends the ids with which the word's encoding begins however
  /// it goes on, as far as they are sure: perhaps none.
  void encode_beginning(std::string_view begin, std::vector<int32_t>& ids) const;

  /// `end` is the end of a word that may begin earlier. Appends the ids with which the word's encoding ends wherever it
  /// begins, as far as they are sure: perhaps none.
  void encode_ending(std::string_view end, std::vector<int32_t>& ids) const;

  /// Bytes of long words that this thread has merged: what tests count, where time would tell of the machine.
  static uint64_t merged_bytes();

 private:
  size_t token_bytes(int32_t id) const { return vocab.bytes(id).size(); }
  /// How many of ids[base..], the encoding of `word` in windows up to its end, stand when the word goes on.
  size_t count_sure(std::string_view word, std::span<const int32_t> ids) const;
  /// How many first ones of `ids`, the encoding of `word`, may be others when it begins earlier.
  size_t count_unsure(std::string_view word, std::span<const int32_t> ids) const;
};

}  // namespace quern
