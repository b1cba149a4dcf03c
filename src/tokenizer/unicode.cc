#include "tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <unordered_map>
#include <vector>

namespace quern {
namespace {

struct UnicodeRange {
  uint32_t first;
  uint32_t last;
  uint32_t value;
};

struct Decomposition {
  uint32_t code_point;  // kComposes set when the pair composes again
  uint32_t first;
  uint32_t second;  // 0: a singleton
};

constexpr uint32_t kComposes = 0x80000000u;
constexpr uint32_t kCodePoints = 0x110000;

#include "tokenizer/unicode_tables.inc"

// Hangul syllables are computed (Unicode 15, section 3.12).
constexpr char32_t kHangulS = 0xAC00, kHangulL = 0x1100, kHangulV = 0x1161, kHangulT = 0x11A7;
constexpr char32_t kHangulLCount = 19, kHangulVCount = 21, kHangulTCount = 28;
constexpr char32_t kHangulSCount = kHangulLCount * kHangulVCount * kHangulTCount;

bool in_hangul(char32_t code_point, char32_t base, char32_t count) {
  return code_point >= base && code_point - base < count;
}

struct Tables {
  std::vector<uint8_t> flags = std::vector<uint8_t>(kCodePoints, 0);
  std::unordered_map<uint64_t, char32_t> compositions;

  Tables() {
    for (const UnicodeRange& range : kClassRanges) {
      std::fill(flags.begin() + range.first, flags.begin() + range.last + 1, static_cast<uint8_t>(range.value));
    }
    for (const UnicodeRange& range : kCombiningRanges) {
      for (uint32_t c = range.first; c <= range.last; ++c) flags[c] |= kHasCombiningClass;
    }
    for (const Decomposition& entry : kDecompositions) {
      const uint32_t code_point = entry.code_point & ~kComposes;
      flags[code_point] |= kDecomposes;
      if (entry.code_point & kComposes) {
        compositions.emplace(uint64_t{entry.first} << 32 | entry.second, code_point);
        flags[entry.second] |= kMayChangeInNfc;
      } else {
        flags[code_point] |= kMayChangeInNfc;
      }
    }
    for (char32_t c = 0; c < kHangulSCount; ++c) flags[kHangulS + c] |= kDecomposes;
    for (char32_t c = 0; c < kHangulVCount; ++c) flags[kHangulV + c] |= kMayChangeInNfc;
    for (char32_t c = 1; c < kHangulTCount; ++c) flags[kHangulT + c] |= kMayChangeInNfc;
  }
};

const Tables& tables() {
  static const Tables built;
  return built;
}

uint8_t combining_class(const uint8_t* flags, char32_t code_point) {
  if (!(flags[code_point] & kHasCombiningClass)) return 0;
  const auto* range = std::upper_bound(std::begin(kCombiningRanges), std::end(kCombiningRanges), code_point,
                                       [](char32_t c, const UnicodeRange& r) { return c < r.first; });
  return static_cast<uint8_t>((range - 1)->value);
}

/// A code point and its combining class, so that sorting needs no look-up.
struct Mark {
  char32_t code_point;
  uint8_t combining;
};

void append_decomposed(const Tables& t, char32_t code_point, std::vector<Mark>& out) {
  if (!(t.flags[code_point] & kDecomposes)) {
    out.push_back({code_point, combining_class(t.flags.data(), code_point)});
    return;
  }
  if (in_hangul(code_point, kHangulS, kHangulSCount)) {
    const char32_t index = code_point - kHangulS;
    out.push_back({kHangulL + index / (kHangulVCount * kHangulTCount), 0});
    out.push_back({kHangulV + index / kHangulTCount % kHangulVCount, 0});
    if (index % kHangulTCount != 0) out.push_back({kHangulT + index % kHangulTCount, 0});
    return;
  }
  const auto* entry =
      std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), code_point,
                       [](const Decomposition& d, char32_t c) { return (d.code_point & ~kComposes) < c; });
  append_decomposed(t, entry->first, out);  // at most three levels deep
  if (entry->second != 0) append_decomposed(t, entry->second, out);
}

/// Sorts a long run of marks by class, stably, in time linear in its length.
void count_sort(std::span<Mark> run) {
  std::array<size_t, 257> begins{};
  for (const Mark& mark : run) ++begins[mark.combining + 1];
  for (size_t i = 1; i < begins.size(); ++i) begins[i] += begins[i - 1];
  std::vector<Mark> sorted(run.size());
  for (const Mark& mark : run) sorted[begins[mark.combining]++] = mark;
  std::copy(sorted.begin(), sorted.end(), run.begin());
}

/// The canonical ordering algorithm: each run of marks sorted by class, stably.
void order_marks(std::vector<Mark>& marks) {
  constexpr ptrdiff_t kShortRun = 64;
  const auto is_mark = [](const Mark& m) { return m.combining != 0; };
  const auto lower = [](const Mark& a, const Mark& b) { return a.combining < b.combining; };
  for (auto at = marks.begin(); at != marks.end();) {
    at = std::find_if(at, marks.end(), is_mark);
    const auto end = std::find_if_not(at, marks.end(), is_mark);
    if (end - at > kShortRun) {
      count_sort(std::span(at, end));
    } else {
      std::stable_sort(at, end, lower);
    }
    at = end;
  }
}

/// The composite of a pair, or 0.
char32_t compose(const Tables& t, char32_t first, char32_t second) {
  if (in_hangul(first, kHangulL, kHangulLCount) && in_hangul(second, kHangulV, kHangulVCount)) {
    return kHangulS + ((first - kHangulL) * kHangulVCount + (second - kHangulV)) * kHangulTCount;
  }
  if (in_hangul(first, kHangulS, kHangulSCount) && (first - kHangulS) % kHangulTCount == 0 &&
      in_hangul(second, kHangulT + 1, kHangulTCount - 1)) {
    return first + (second - kHangulT);
  }
  const auto found = t.compositions.find(uint64_t{first} << 32 | second);
  return found == t.compositions.end() ? 0 : found->second;
}

/// The canonical composition algorithm, in place.
void compose_all(const Tables& t, std::vector<Mark>& marks) {
  constexpr size_t kNone = SIZE_MAX;
  size_t starter = kNone;
  size_t kept = 0;
  for (const Mark mark : marks) {
    if (starter != kNone) {
      // Blocked when something of the same or a higher class, or another starter, stands between.
      const bool adjacent = kept == starter + 1;
      const bool blocked = !adjacent && marks[kept - 1].combining >= mark.combining;
      const char32_t composite = blocked ? 0 : compose(t, marks[starter].code_point, mark.code_point);
      if (composite != 0) {
        marks[starter].code_point = composite;
        continue;
      }
    }
    if (mark.combining == 0) starter = kept;
    marks[kept++] = mark;
  }
  marks.resize(kept);
}

bool is_nfc(const uint8_t* flags, std::string_view text) {
  uint8_t last_combining = 0;
  for (size_t at = 0; at < text.size();) {
    // Nothing below U+0300 (lead byte 0xCC) can change or combine.
    if (static_cast<unsigned char>(text[at]) < 0xCC) {
      last_combining = 0;
      at += static_cast<unsigned char>(text[at]) < 0x80 ? 1 : 2;
      continue;
    }
    const char32_t code_point = next_code_point(text, at);
    if (flags[code_point] & kMayChangeInNfc) return false;
    const uint8_t combining = combining_class(flags, code_point);
    if (combining != 0 && combining < last_combining) return false;
    last_combining = combining;
  }
  return true;
}

/// Bytes of the well-formed sequence at the start of `text`, or 0; `bad` is then the length of its ill-formed part.
size_t sequence_length(std::string_view text, size_t& bad) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  bad = 1;
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const size_t width = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (; bad < width; ++bad) {
    if (bad >= text.size()) return 0;
    if (byte(bad) < (bad == 1 ? low : 0x80) || byte(bad) > (bad == 1 ? high : 0xBF)) return 0;
  }
  return width;
}

}  // namespace

const uint8_t* unicode_flags() { return tables().flags.data(); }

void append_utf8(std::string& out, char32_t code_point) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | (code_point >> shift & 63))); };
  if (code_point < 0x80) {
    out.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out.push_back(static_cast<char>(0xC0 | code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | code_point >> 12));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  size_t bad = 0;
  while (at < text.size()) {
    const size_t width = sequence_length(text.substr(at), bad);
    if (width == 0) return at;
    at += width;
  }
  return at;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    size_t bad = 0;
    sequence_length(text, bad);
    out.append("\xEF\xBF\xBD");
    text.remove_prefix(bad);
  }
  return out;
}

size_t nfc_stable_prefix(std::string_view text) {
  const uint8_t* flags = unicode_flags();
  for (size_t at = text.size(); at > 0;) {
    at = previous_code_point(text, at);
    size_t next = at;
    if (!(flags[next_code_point(text, next)] & kNfcJoins)) return at;
  }
  return 0;
}

std::string_view to_nfc(std::string_view text, std::string& buffer) {
  const Tables& t = tables();
  if (is_nfc(t.flags.data(), text)) return text;
  std::vector<Mark> marks;
  marks.reserve(text.size());
  for (size_t at = 0; at < text.size();) append_decomposed(t, next_code_point(text, at), marks);
  order_marks(marks);
  compose_all(t, marks);
  buffer.clear();
  buffer.reserve(text.size());
  for (const Mark& mark : marks) append_utf8(buffer, mark.code_point);
  return buffer;
}

}  // namespace quern
