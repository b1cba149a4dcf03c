// WordCache: the ids of words met lately, so that a common word is merged once and not each time.
//
// Owns a fixed 64 bytes for each of kWordCacheEntries; direct-mapped, so nothing is ever searched or evicted. One per
// thread (word_cache()), shared by all tokenizers of the process: entries carry the serial of theirs.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

namespace quern {

constexpr size_t kWordCacheEntries = 1 << 15;  // 2 MB a thread

class WordCache {
 public:
  static constexpr size_t kWordBytesMax = 26;
  static constexpr size_t kWordIdsMax = 8;
  struct Entry {
    uint32_t serial = 0;  // 0: empty
    uint8_t bytes = 0;
    uint8_t ids = 0;
    char word[kWordBytesMax] = {};
    int32_t id[kWordIdsMax] = {};
  };
  static_assert(sizeof(Entry) == 64);

  /// The only place where `word` (of 1 to kWordBytesMax bytes) can be.
  Entry& entry(std::string_view word) {
    return entries_[std::hash<std::string_view>()(word) & (kWordCacheEntries - 1)];
  }
  static bool holds(const Entry& entry, uint32_t serial, std::string_view word) {
    return entry.serial == serial && entry.bytes == word.size() &&
           std::memcmp(entry.word, word.data(), word.size()) == 0;
  }
  static void put(Entry& entry, uint32_t serial, std::string_view word, const int32_t* ids, size_t count) {
    entry.serial = serial;
    entry.bytes = static_cast<uint8_t>(word.size());
    entry.ids = static_cast<uint8_t>(count);
    std::memcpy(entry.word, word.data(), word.size());
    std::memcpy(entry.id, ids, count * sizeof *ids);
  }

 private:
  std::vector<Entry> entries_ = std::vector<Entry>(kWordCacheEntries);
};

/// This thread's cache.
inline WordCache& word_cache() {
  static thread_local WordCache cache;
  return cache;
}

}  // namespace quern
