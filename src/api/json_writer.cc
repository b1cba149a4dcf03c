#include "api/json_writer.h"

#include <charconv>

#include "base/excerpt.h"

namespace quern {

namespace {

// "-1.1754944e-38," is the longest a float gets; the rest is room to spare.
constexpr size_t kFloatTextBytesMax = 20;

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out.push_back('"');
  append_json_escaped(out, text);
  out.push_back('"');
}

void append_json_integer(std::string& out, int64_t value) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void append_json_floats(std::string& out, std::span<const float> values) {
  const size_t begin = out.size();
  out.resize(begin + values.size() * kFloatTextBytesMax + 2);
  char* to = out.data() + begin;
  *to++ = '[';
  for (float value : values) {
    to = std::to_chars(to, to + kFloatTextBytesMax, value).ptr;
    *to++ = ',';
  }
  if (!values.empty()) --to;
  *to++ = ']';
  out.resize(static_cast<size_t>(to - out.data()));
}

}  // namespace quern
