#include "api/json_fields.h"

#include <cmath>

namespace quern {

namespace {

/// "a number", and for numbers without a fraction "an integer".
std::string_view describe_number(const JsonNumber& number) {
  return number.real == std::floor(number.real) ? "an integer" : "a number";
}

}  // namespace

Error must_be(std::string_view field, std::string_view wanted, std::string_view got) {
  std::string message = "'";
  message.append(field).append("' must be ").append(wanted).append(", not ").append(got).append(".");
  return invalid_argument(std::move(message), std::string(field));
}

bool wrong_kind(JsonReader& reader, std::string_view field, std::string_view wanted) {
  JsonKind kind = JsonKind::kNull;
  if (!reader.peek(kind)) return false;
  if (kind != JsonKind::kNumber) return reader.fail(must_be(field, wanted, json_kind_name(kind)));
  JsonNumber number;
  if (!reader.read_number(number)) return false;
  return reader.fail(must_be(field, wanted, describe_number(number)));
}

bool read_integer(JsonReader& reader, std::string_view field, int64_t min, int64_t max, int64_t& out) {
  const auto wanted = [&] { return "an integer from " + std::to_string(min) + " to " + std::to_string(max); };
  JsonKind kind = JsonKind::kNull;
  if (!reader.peek(kind)) return false;
  if (kind != JsonKind::kNumber) return wrong_kind(reader, field, wanted());
  JsonNumber number;
  if (!reader.read_number(number)) return false;
  if (!number.is_integer) {
    const std::string_view got = number.real > 9e15 ? "more" : number.real < -9e15 ? "less" : describe_number(number);
    return reader.fail(must_be(field, wanted(), got));
  }
  if (number.integer < min || number.integer > max) {
    return reader.fail(must_be(field, wanted(), std::to_string(number.integer)));
  }
  out = number.integer;
  return true;
}

bool read_text(JsonReader& reader, std::string_view field, std::string_view& out, std::string_view wanted) {
  JsonKind kind = JsonKind::kNull;
  if (!reader.peek(kind)) return false;
  if (kind != JsonKind::kString) return wrong_kind(reader, field, wanted);
  JsonString string;
  if (!reader.read_string(string)) return false;
  out = reader.text(string);
  return true;
}

bool read_text(JsonReader& reader, std::string_view field, std::optional<std::string_view>& out) {
  std::string_view text;
  if (!read_text(reader, field, text)) return false;
  out = text;
  return true;
}

bool read_flag(JsonReader& reader, std::string_view field, bool& out) {
  JsonKind kind = JsonKind::kNull;
  if (!reader.peek(kind)) return false;
  if (kind != JsonKind::kBool) return wrong_kind(reader, field, "a boolean");
  return reader.read_bool(out);
}

}  // namespace quern
