#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>

#include "base/check.h"

namespace quern {
namespace {

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

void encode_by_heap(const MergeTable& merges, std::vector<Symbol>& symbols, std::vector<int32_t>& ids) {
  std::vector<Candidate> first_candidates;
  first_candidates.reserve(symbols.size());
  const auto candidate = [&](int32_t at) {
    return Candidate{merges.find(symbols[at].id, symbols[symbols[at].next].id).rank, at};
  };
  for (int32_t at = 0; symbols[at].next != kNoSymbol; ++at) {
    if (const Candidate c = candidate(at); c.rank != MergeTable::kNoRank) first_candidates.push_back(c);
  }
  std::priority_queue heap(std::greater<Candidate>(), std::move(first_candidates));
  const auto push = [&](int32_t at) {
    if (const Candidate c = candidate(at); c.rank != MergeTable::kNoRank) heap.push(c);
  };
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    Symbol& left = symbols[top.at];
    if (left.id == kDead || left.next == kNoSymbol) continue;
    const MergeTable::Merge& merge = merges.find(left.id, symbols[left.next].id);
    if (merge.rank != top.rank) continue;  // one of the two has changed since
    left.id = merge.id;
    symbols[left.next].id = kDead;
    left.next = symbols[left.next].next;
    if (left.next != kNoSymbol) {
      symbols[left.next].previous = top.at;
      push(top.at);
    }
    if (left.previous != kNoSymbol) push(left.previous);
  }
  for (int32_t at = 0; at != kNoSymbol; at = symbols[at].next) ids.push_back(symbols[at].id);
}

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
    if (spans_[id].used) slots_[slot_of(bytes(static_cast<int32_t>(id)))] = static_cast<int32_t>(id);
  }
}

bool Vocab::add(std::string_view bytes, int32_t id) {
  QUERN_CHECK(id >= 0, "token ids are not negative");
  if (has(id)) return false;
  if ((used_ + 1) * 2 > slots_.size()) grow();
  const size_t slot = slot_of(bytes);
  if (slots_[slot] != kNone) return false;
  if (static_cast<size_t>(id) >= spans_.size()) spans_.resize(static_cast<size_t>(id) + 1);
  spans_[id] = {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(bytes.size()), true};
  arena_.append(bytes);
  slots_[slot] = id;
  ++used_;
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
  QUERN_CHECK(word.size() < INT32_MAX, "encode() limits the text");
  std::vector<Symbol> symbols(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    const auto at = static_cast<int32_t>(i);
    symbols[i] = {byte_ids[static_cast<unsigned char>(word[i])], at - 1, i + 1 < word.size() ? at + 1 : kNoSymbol};
  }
  encode_by_heap(merges, symbols, ids);
}

}  // namespace quern
