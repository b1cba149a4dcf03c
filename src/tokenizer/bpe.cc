#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <span>

#include "base/check.h"

namespace quern {
namespace {

thread_local uint64_t merged_bytes_here = 0;

size_t slots_for(size_t entries) { return std::bit_ceil(std::max<size_t>(entries, 8) * 2); }

// Up to here a scan for the lowest rank beats a heap.
constexpr size_t kScanSymbolsMax = 48;

void encode_by_scan(const MergeTable& merges, int32_t* symbols, size_t count, std::vector<int32_t>& ids) {
  uint32_t ranks[kScanSymbolsMax];
  int32_t merged[kScanSymbolsMax];
  const auto look_up = [&](size_t i) {
    const MergeTable::Merge& merge = merges.find(symbols[i], symbols[i + 1]);
    ranks[i] = merge.rank;
    merged[i] = merge.id;
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    const size_t best = std::min_element(ranks, ranks + count - 1) - ranks;  // the first of equals: the leftmost
    if (ranks[best] == MergeTable::kNoRank) break;
    symbols[best] = merged[best];
    --count;
    std::copy(symbols + best + 2, symbols + count + 1, symbols + best + 1);
    if (best + 1 < count) {
      std::copy(ranks + best + 2, ranks + count, ranks + best + 1);
      std::copy(merged + best + 2, merged + count, merged + best + 1);
      look_up(best);
    }
    if (best > 0) look_up(best - 1);
  }
  ids.insert(ids.end(), symbols, symbols + count);
}

/// A symbol of a long word, linked to its living neighbours.
struct Symbol {
  int32_t id;
  int32_t previous;
  int32_t next;
};

constexpr int32_t kNoSymbol = -1;
constexpr int32_t kDead = -1;  // the id of a symbol that was merged into its left neighbour

struct Candidate {
  uint32_t rank;
  int32_t at;
  bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
};

/// Merges one window at a time; keeps its memory from window to window, and remembers some of them: a word that repeats
/// itself is merged once.
class WindowEncoder {
 public:
  /// `remembers`: pays where there are many windows.
  explicit WindowEncoder(const Bpe& bpe, bool remembers = false)
      : bpe_(bpe), remembered_(remembers ? kRemembered : 0) {}

  /// The encoding of `window`, valid until the next call.
  const std::vector<int32_t>& encode(std::string_view window) {
    if (remembered_.empty() || window.size() > kRememberedBytesMax) return merge(window);
    Remembered& entry = remembered_[std::hash<std::string_view>()(window) % kRemembered];
    if (entry.window != window) {
      entry.ids = merge(window);
      entry.window = window;
    }
    return entry.ids;
  }

 private:
  static constexpr size_t kRemembered = 128;
  static constexpr size_t kRememberedBytesMax = 2048;
  struct Remembered {
    std::string window;
    std::vector<int32_t> ids;
  };

  const std::vector<int32_t>& merge(std::string_view window) {
    merged_bytes_here += window.size();
    ids_.clear();
    if (window.size() <= kScanSymbolsMax) {
      int32_t symbols[kScanSymbolsMax] = {};
      for (size_t i = 0; i < window.size(); ++i) symbols[i] = bpe_.byte_ids[static_cast<unsigned char>(window[i])];
      encode_by_scan(bpe_.merges, symbols, window.size(), ids_);
    } else {
      encode_by_heap(window);
    }
    return ids_;
  }

  void push_candidate(int32_t at) {
    const uint32_t rank = bpe_.merges.find(symbols_[at].id, symbols_[symbols_[at].next].id).rank;
    if (rank != MergeTable::kNoRank) heap_.push_back({rank, at});
  }

  void encode_by_heap(std::string_view window) {
    QUERN_CHECK(window.size() < INT32_MAX, "encode() limits the text");
    const auto count = static_cast<int32_t>(window.size());
    symbols_.resize(window.size());
    for (int32_t i = 0; i < count; ++i) {
      symbols_[i] = {bpe_.byte_ids[static_cast<unsigned char>(window[i])], i - 1, i + 1 < count ? i + 1 : kNoSymbol};
    }
    heap_.clear();
    for (int32_t at = 0; at + 1 < count; ++at) push_candidate(at);
    const std::greater<Candidate> later;
    std::make_heap(heap_.begin(), heap_.end(), later);
    const auto push = [&](int32_t at) {
      const size_t before = heap_.size();
      push_candidate(at);
      if (heap_.size() != before) std::push_heap(heap_.begin(), heap_.end(), later);
    };
    while (!heap_.empty()) {
      const Candidate top = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end(), later);
      heap_.pop_back();
      Symbol& left = symbols_[top.at];
      if (left.id == kDead || left.next == kNoSymbol) continue;
      const MergeTable::Merge& merge = bpe_.merges.find(left.id, symbols_[left.next].id);
      if (merge.rank != top.rank) continue;  // one of the two has changed since
      left.id = merge.id;
      symbols_[left.next].id = kDead;
      left.next = symbols_[left.next].next;
      if (left.next != kNoSymbol) {
        symbols_[left.next].previous = top.at;
        push(top.at);
      }
      if (left.previous != kNoSymbol) push(left.previous);
    }
    for (int32_t at = 0; at != kNoSymbol; at = symbols_[at].next) ids_.push_back(symbols_[at].id);
  }

  const Bpe& bpe_;
  std::vector<Remembered> remembered_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
  std::vector<int32_t> ids_;
};

/// Where two encodings of overlapping texts have the same token at the same place.
struct Shared {
  size_t left = 0;   // tokens of `left` up to and with it; 0: none found
  size_t right = 0;  // of `right`
};

/// `right` begins `right_at` bytes after `left`. `last`: the last token that they share, else the first.
Shared find_shared(const Vocab& vocab, std::span<const int32_t> left, std::span<const int32_t> right, bool last,
                   size_t right_at = 0) {
  Shared shared;
  size_t left_at = 0;  // bytes, as right_at
  for (size_t i = 0, j = 0; i < left.size() && j < right.size();) {
    const size_t left_end = left_at + vocab.bytes(left[i]).size();
    const size_t right_end = right_at + vocab.bytes(right[j]).size();
    if (left_at == right_at && left[i] == right[j]) {
      shared = {i + 1, j + 1};
      if (!last) return shared;
    }
    if (left_end <= right_end) left_at = left_end, ++i;
    if (right_end <= left_end) right_at = right_end, ++j;
  }
  return shared;
}

// Small windows keep symbols and heap in the first-level cache. And how far two windows overlap at first. Windows that
// do not join are tried with twice the overlap.
constexpr size_t kWindowBytes = 256;
constexpr size_t kOverlapBytes = 64;
constexpr size_t kManyWindowsBytes = 16 * kWindowBytes;

}  // namespace

Vocab::Vocab(size_t tokens_max_hint) : slots_(slots_for(tokens_max_hint), kNone) { spans_.reserve(tokens_max_hint); }

size_t Vocab::slot_of(std::string_view bytes) const {
  size_t slot = std::hash<std::string_view>()(bytes) & (slots_.size() - 1);
  while (slots_[slot] != kNone && this->bytes(slots_[slot]) != bytes) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void Vocab::grow() {
  slots_.assign(slots_.size() * 2, kNone);
  for (size_t id = 0; id < spans_.size(); ++id) {
    if (spans_[id].used && !spans_[id].hidden)
      slots_[slot_of(bytes(static_cast<int32_t>(id)))] = static_cast<int32_t>(id);
  }
}

bool Vocab::add(std::string_view bytes, int32_t id) {
  if ((listed_ + 1) * 2 > slots_.size()) grow();
  const size_t slot = slot_of(bytes);
  if (slots_[slot] != kNone || !add_hidden(bytes, id)) return false;
  spans_[id].hidden = false;
  slots_[slot] = id;
  ++listed_;
  return true;
}

bool Vocab::add_hidden(std::string_view bytes, int32_t id) {
  QUERN_CHECK(id >= 0, "token ids are not negative");
  if (has(id)) return false;
  if (static_cast<size_t>(id) >= spans_.size()) spans_.resize(static_cast<size_t>(id) + 1);
  spans_[id] = {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(bytes.size()), true, true};
  arena_.append(bytes);
  longest_ = std::max(longest_, bytes.size());
  return true;
}

int32_t Vocab::find(std::string_view bytes) const { return slots_[slot_of(bytes)]; }

std::string_view Vocab::bytes(int32_t id) const {
  return std::string_view(arena_).substr(spans_[id].begin, spans_[id].size);
}

bool Vocab::has(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < spans_.size() && spans_[id].used; }

MergeTable::MergeTable(size_t merges)
    : shift_(64 - std::countr_zero(slots_for(merges))), slots_(slots_for(merges), Merge{0, kNoRank, 0}) {}

void MergeTable::set(int32_t left, int32_t right, uint32_t rank, int32_t id) {
  slots_[slot_of(key(left, right))] = {key(left, right), rank, id};
}

void Bpe::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (ignore_merges) {
    if (const int32_t id = vocab.find(word); id != Vocab::kNone) return ids.push_back(id);
  }
  if (word.size() <= kScanSymbolsMax) {
    int32_t symbols[kScanSymbolsMax] = {};
    for (size_t i = 0; i < word.size(); ++i) symbols[i] = byte_ids[static_cast<unsigned char>(word[i])];
    return encode_by_scan(merges, symbols, word.size(), ids);
  }
  WindowEncoder windows(*this, word.size() > kManyWindowsBytes);
  const size_t base = ids.size();
  size_t overlap = kOverlapBytes;
  for (size_t end = 0; end < word.size();) {  // ids[base..] is the encoding of word[0..end)
    size_t from = ids.size(), start = end;
    while (from > base && end - start < overlap) start -= token_bytes(ids[--from]);
    const size_t next_end = std::min(word.size(), end + std::max(kWindowBytes, 4 * overlap));
    const std::vector<int32_t>& window = windows.encode(word.substr(start, next_end - start));
    const Shared shared = find_shared(vocab, std::span(ids).subspan(from), window, /*last=*/false);
    if (shared.left == 0 && from > base) {
      overlap *= 2;
      continue;
    }
    ids.resize(from + shared.left);
    ids.insert(ids.end(), window.begin() + static_cast<ptrdiff_t>(shared.right), window.end());
    end = next_end;
  }
}

size_t Bpe::count_sure(std::string_view word, std::span<const int32_t> ids) const {
  // However the word goes on, its encoding has a border at one of the last token_bytes_max places of what is known, and
  // up to there it is the encoding of the word up to there. What all of these begin with is sure.
  size_t from = ids.size(), start = word.size();
  const size_t overlap = 2 * token_bytes_max + kOverlapBytes;
  while (from > 0 && word.size() - start < overlap) start -= token_bytes(ids[--from]);
  const std::span<const int32_t> tail = ids.subspan(from);
  size_t sure = tail.size();
  WindowEncoder windows(*this);
  for (size_t border = word.size() - token_bytes_max + 1; border < word.size() && sure > 0; ++border) {
    const std::vector<int32_t>& window = windows.encode(word.substr(start, border - start));
    sure = std::min(sure, find_shared(vocab, tail, window, /*last=*/true).left);
  }
  return sure == 0 ? 0 : from + sure;
}

size_t Bpe::count_unsure(std::string_view word, std::span<const int32_t> ids) const {
  // The mirror of count_sure(): there is a border at one of the first token_bytes_max places, and from there on the
  // encoding is that of the rest. Where the encodings from all of them have joined, it is sure.
  const size_t overlap = 2 * token_bytes_max + kOverlapBytes;
  size_t unsure = 0;
  WindowEncoder windows(*this);
  for (size_t border = 1; border < token_bytes_max; ++border) {
    const std::vector<int32_t>& window = windows.encode(word.substr(border, overlap));
    const Shared shared = find_shared(vocab, ids, window, /*last=*/false, border);
    if (shared.left == 0) return ids.size();
    unsure = std::max(unsure, shared.left - 1);
  }
  return unsure;
}

void Bpe::encode_ending(std::string_view end, std::vector<int32_t>& ids) const {
  if (end.size() <= token_bytes_max) return;
  const size_t base = ids.size();
  encode_word(end, ids);
  const auto begin = ids.begin() + static_cast<ptrdiff_t>(base);
  ids.erase(begin, begin + static_cast<ptrdiff_t>(count_unsure(end, std::span(ids).subspan(base))));
}

uint64_t Bpe::merged_bytes() { return merged_bytes_here; }

void Bpe::encode_beginning(std::string_view begin, std::vector<int32_t>& ids) const {
  if (begin.size() <= token_bytes_max) return;  // all of it may become one token
  const size_t base = ids.size();
  encode_word(begin, ids);
  ids.resize(base + count_sure(begin, std::span(ids).subspan(base)));
}

}  // namespace quern
