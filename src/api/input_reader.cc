#include "api/input_reader.h"

#include <algorithm>

#include "api/json_fields.h"

namespace quern {

namespace {

constexpr std::string_view kAllowed = "a string, an array of strings, an array of token ids or an array of those";

}  // namespace

bool InputReader::read() {
  JsonKind kind = JsonKind::kNull;
  if (!reader_.peek(kind)) return false;
  if (kind == JsonKind::kString) {
    plan_.single = true;
    return add_text("input");
  }
  if (kind == JsonKind::kArray) return read_list();
  return wrong_kind(reader_, "input", kAllowed);
}

// The first element says what the array is: ids of one input, or one input each.
bool InputReader::read_list() {
  JsonKind first = JsonKind::kNull;
  int64_t count = 0;
  const bool read = reader_.each_element([&] {
    if (count++ > 0) return plan_.single ? add_id("input") : read_item(first == JsonKind::kString);
    if (!reader_.peek(first)) return false;
    plan_.single = first == JsonKind::kNumber;
    if (plan_.single) return add_id("input");
    if (first != JsonKind::kString && first != JsonKind::kArray) {
      return wrong_kind(reader_, "input[0]", "a string, a token id or an array of token ids");
    }
    return read_item(first == JsonKind::kString);
  });
  if (!read) return false;
  if (count == 0) return reader_.fail(invalid_argument("'input' must not be an empty array.", "input"));
  return plan_.single ? keep_ids("input") : true;
}

bool InputReader::read_item(bool texts) {
  if (plan_.inputs.size() == static_cast<size_t>(input_.config.inputs_max)) {
    return reader_.fail(invalid_argument("'input' has more than " + std::to_string(input_.config.inputs_max) +
                                             " items; no more are allowed in one request.",
                                         "input"));
  }
  const std::string name = "input[" + std::to_string(plan_.inputs.size()) + "]";
  JsonKind kind = JsonKind::kNull;
  if (!reader_.peek(kind)) return false;
  if (texts) {
    if (kind != JsonKind::kString) return wrong_kind(reader_, name, "a string, as input[0] is");
    return add_text(name);
  }
  if (kind != JsonKind::kArray) return wrong_kind(reader_, name, "an array of token ids, as input[0] is");
  return read_ids(name);
}

bool InputReader::add_text(std::string_view name) {
  JsonString string;
  if (!reader_.read_string(string)) return false;
  if (string.size == 0) {
    return reader_.fail(
        invalid_argument("'" + std::string(name) + "' must not be an empty string.", std::string(name)));
  }
  plan_.inputs.emplace_back(reader_.text(string));
  return true;
}

bool InputReader::read_ids(const std::string& name) {
  ids_.clear();
  ids_count_ = 0;
  return reader_.each_element([&] { return add_id(name); }) && keep_ids(name);
}

bool InputReader::add_id(const std::string& name) {
  JsonKind kind = JsonKind::kNull;
  JsonNumber number;
  if (!reader_.peek(kind)) return false;
  const bool is_number = kind == JsonKind::kNumber;
  if (is_number && !reader_.read_number(number)) return false;
  const int32_t vocab = plan_.model->vocab_tokens;
  if (!number.is_integer || number.integer < 0 || number.integer >= vocab) {
    const std::string where = name + "[" + std::to_string(ids_count_) + "]";
    const std::string wanted = "a token id of this model's own tokenizer, from 0 to " + std::to_string(vocab - 1);
    if (!is_number) return wrong_kind(reader_, where, wanted);
    const bool large = !number.is_integer && number.real >= vocab;
    return reader_.fail(must_be(where, wanted,
                                number.is_integer ? std::to_string(number.integer)
                                : large           ? "more"
                                                  : "a number"));
  }
  ++ids_count_;
  // Of the ids that will be cut away, none are held; at the left only the last ones stay.
  const auto held_max = static_cast<size_t>(plan_.tokens_max);
  if (ids_.size() == 2 * held_max && plan_.truncation == Truncation::kLeft) {
    ids_.erase(ids_.begin(), ids_.end() - static_cast<std::ptrdiff_t>(held_max));
  }
  if (ids_.size() <= held_max || plan_.truncation == Truncation::kLeft) {
    ids_.push_back(static_cast<int32_t>(number.integer));
  } else {
    ids_.back() = static_cast<int32_t>(number.integer);  // whether the last one is EOS counts
  }
  return true;
}

// An input's ids are complete: EOS where it is missing, the cut, and a place in the plan.
bool InputReader::keep_ids(const std::string& name) {
  if (ids_count_ == 0) return reader_.fail(invalid_argument("'" + name + "' must not be an empty array.", name));
  const std::optional<int32_t> eos = plan_.model->eos_token_id;
  const bool has_eos = eos && ids_.back() == *eos;
  const bool adds_eos = eos && !has_eos;
  const int64_t total = ids_count_ + (adds_eos ? 1 : 0);
  const auto kept_max = static_cast<size_t>(plan_.tokens_max);
  if (total > plan_.tokens_max && plan_.truncation == Truncation::kNone) {
    return reader_.fail(invalid_argument("'" + name + "' has " + std::to_string(total) +
                                             " tokens, EOS included; at most " + std::to_string(plan_.tokens_max) +
                                             " are allowed. Shorten it, or ask for 'truncate': true.",
                                         name));
  }
  const size_t count = std::min(static_cast<size_t>(total), kept_max);
  const auto bytes = static_cast<int64_t>(count * sizeof(int32_t));
  if (!input_.lease.grow(bytes)) {
    const int64_t all = input_.lease.budget()->bytes_max();
    return reader_.fail(out_of_budget(all, input_.lease.bytes() + bytes, all));
  }
  if (has_eos) ids_.pop_back();
  const size_t own = std::min(ids_.size(), count - (eos ? 1 : 0));
  const auto begin =
      plan_.truncation == Truncation::kLeft ? ids_.end() - static_cast<std::ptrdiff_t>(own) : ids_.begin();
  std::vector<int32_t> kept;
  kept.reserve(count);
  kept.assign(begin, begin + static_cast<std::ptrdiff_t>(own));
  if (eos) kept.push_back(*eos);
  plan_.inputs.emplace_back(std::move(kept));
  return true;
}

}  // namespace quern
