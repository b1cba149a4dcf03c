#include "api/embed_request.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>

namespace quern {

namespace dom = simdjson::dom;

namespace {

// A parser keeps memory for the largest document it has seen; one kept per thread must stay small.
constexpr size_t kKeptParserBytes = 256 * 1024;

std::string describe_type(const dom::element& value) {
  switch (value.type()) {
    case dom::element_type::ARRAY:
      return "an array";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::INT64:
    case dom::element_type::UINT64:
      return "an integer";
    case dom::element_type::DOUBLE:
      return "a number";
    case dom::element_type::STRING:
      return "a string";
    case dom::element_type::BOOL:
      return "a boolean";
    case dom::element_type::NULL_VALUE:
      return "null";
  }
  return "an unknown type";
}

Error must_be(const std::string& field, std::string_view wanted, std::string_view got) {
  return invalid_argument("'" + field + "' must be " + std::string(wanted) + ", not " + std::string(got) + ".", field);
}

Error wrong_type(const std::string& field, std::string_view wanted, const dom::element& value) {
  return must_be(field, wanted, describe_type(value));
}

// JSON has one kind of number: 256.0 is an integer too.
std::optional<int64_t> as_integer(const dom::element& value) {
  if (value.is_int64()) return value.get_int64().value_unsafe();
  double real = 0;
  if (!value.is_double() || value.get_double().get(real) || real != std::floor(real) || std::abs(real) > 9e15)
    return {};
  return static_cast<int64_t>(real);
}

Result<int64_t> bounded_integer(const dom::element& value, const std::string& field, int64_t min, int64_t max) {
  const std::string wanted = "an integer from " + std::to_string(min) + " to " + std::to_string(max);
  const bool too_big = value.is_uint64() && !value.is_int64();
  const auto integer = as_integer(value);
  if (!integer && !too_big) return wrong_type(field, wanted, value);
  if (too_big || *integer < min || *integer > max) {
    return must_be(field, wanted, too_big ? "more" : std::to_string(*integer));
  }
  return *integer;
}

Error describe_json_error(simdjson::error_code code, const ApiConfig& config) {
  switch (code) {
    case simdjson::EMPTY:
      return invalid_argument("The request body is empty; a JSON object is expected.");
    case simdjson::DEPTH_ERROR:
      return invalid_argument("The request body nests deeper than " + std::to_string(config.json_depth_max) +
                              " levels.");
    case simdjson::CAPACITY:
      return Error{ErrorCode::kPayloadTooLarge, "The request body is too large for a JSON document.", "", 0};
    case simdjson::UTF8_ERROR:
      return invalid_argument("The request body is not valid UTF-8.");
    case simdjson::MEMALLOC:
      return internal_error("out of memory while parsing a request");
    default:
      return invalid_argument(std::string("The request body is not valid JSON: ") + simdjson::error_message(code));
  }
}

class EmbedRequestParser {
 public:
  explicit EmbedRequestParser(const ApiConfig& config) : config_(config) {
    request_.model = config.model_names.front();
    request_.dimensions = config.width;
    request_.tokens_max = config.context_tokens_max;
    request_.timeout_ms = config.timeout_ms_default;
  }

  Result<EmbedRequest> parse(const dom::element& document) {
    dom::object object;
    if (document.get_object().get(object)) {
      return invalid_argument("The request body must be a JSON object, not " + describe_type(document) + ".");
    }
    std::vector<std::string_view> seen;
    seen.reserve(16);
    for (const auto& [key, value] : object) {
      seen.push_back(key);
      if (auto result = field(key, value); !result) return result.error();
    }
    std::sort(seen.begin(), seen.end());
    if (const auto twice = std::adjacent_find(seen.begin(), seen.end()); twice != seen.end()) {
      return invalid_argument("The field '" + std::string(*twice) + "' is given more than once.", std::string(*twice));
    }
    return finish();
  }

 private:
  // Sets one field; null means absent, as clients send it.
  Result<void> field(std::string_view key, const dom::element& value) {
    if (key == "input") return set_input(value);
    if (value.is_null()) return {};
    if (key == "model") return set_model(value);
    if (key == "encoding_format") return set_encoding_format(value);
    if (key == "dimensions")
      return set_integer(value, "dimensions", config_.dimensions_min, config_.width, request_.dimensions);
    if (key == "user") return value.is_string() ? Result<void>() : wrong_type("user", "a string", value);
    if (key == "prompt_name") return set_text(value, "prompt_name", prompt_name_);
    if (key == "instruction") return set_text(value, "instruction", instruction_);
    if (key == "truncate") return set_truncate(value);
    if (key == "truncate_prompt_tokens") {
      truncate_tokens_given_ = true;
      return set_integer(value, "truncate_prompt_tokens", 1, config_.context_tokens_max, request_.tokens_max);
    }
    if (key == "normalize") {
      return value.get_bool().get(request_.normalize) ? wrong_type("normalize", "a boolean", value) : Result<void>();
    }
    if (key == "priority")
      return set_integer(value, "priority", -config_.priority_max, config_.priority_max, request_.priority);
    if (key == "timeout_ms") return set_integer(value, "timeout_ms", 1, config_.timeout_ms_max, request_.timeout_ms);
    return {};
  }

  template <typename Integer>
  Result<void> set_integer(const dom::element& value, const std::string& name, int64_t min, int64_t max, Integer& out) {
    const auto integer = bounded_integer(value, name, min, max);
    if (!integer) return integer.error();
    out = static_cast<Integer>(*integer);
    return {};
  }

  Result<void> set_text(const dom::element& value, const std::string& name, std::optional<std::string>& out) {
    std::string_view text;
    if (value.get_string().get(text)) return wrong_type(name, "a string", value);
    out = std::string(text);
    return {};
  }

  Result<void> set_model(const dom::element& value) {
    std::string_view name;
    if (value.get_string().get(name)) return wrong_type("model", "a string", value);
    const auto& names = config_.model_names;
    if (std::find(names.begin(), names.end(), name) == names.end()) unknown_model_ = std::string(name);
    request_.model = std::string(name);
    return {};
  }

  Result<void> set_encoding_format(const dom::element& value) {
    std::string_view name;
    if (!value.get_string().get(name)) {
      if (name == "float" || name == "base64") {
        request_.encoding_format = name == "float" ? EncodingFormat::kFloat : EncodingFormat::kBase64;
        return {};
      }
      return invalid_argument("'encoding_format' must be \"float\" or \"base64\", not \"" + std::string(name) + "\".",
                              "encoding_format");
    }
    return wrong_type("encoding_format", "\"float\" or \"base64\"", value);
  }

  Result<void> set_truncate(const dom::element& value) {
    bool on = false;
    std::string_view side;
    truncate_given_ = true;
    if (!value.get_bool().get(on)) {
      request_.truncate = on ? Truncate::kRight : Truncate::kNone;
    } else if (!value.get_string().get(side) && (side == "left" || side == "right")) {
      request_.truncate = side == "left" ? Truncate::kLeft : Truncate::kRight;
    } else {
      return wrong_type("truncate", "true, false, \"left\" or \"right\"", value);
    }
    return {};
  }

  Result<void> set_input(const dom::element& value) {
    constexpr std::string_view kAllowed = "a string, an array of strings, an array of token ids or an array of those";
    request_.inputs.clear();
    std::string_view text;
    dom::array array;
    if (!value.get_string().get(text)) {
      request_.single = true;
      return add_text("input", text);
    }
    if (value.get_array().get(array)) return wrong_type("input", kAllowed, value);
    const size_t count = count_of(array);
    if (count == 0) return invalid_argument("'input' must not be an empty array.", "input");
    const dom::element first = *array.begin();
    if (first.is_number()) {
      request_.single = true;
      return add_ids("input", array, count);
    }
    if (!first.is_string() && !first.is_array())
      return wrong_type("input[0]", "a string, a token id or an array of token ids", first);
    if (count > static_cast<size_t>(config_.inputs_max)) {
      return invalid_argument("'input' has " + std::to_string(count) + " items; at most " +
                                  std::to_string(config_.inputs_max) + " are allowed in one request.",
                              "input");
    }
    return add_items(array, count, first.is_string());
  }

  Result<void> add_items(const dom::array& array, size_t count, bool texts) {
    request_.inputs.reserve(count);
    size_t index = 0;
    for (const dom::element item : array) {
      const auto name = [&] { return "input[" + std::to_string(index) + "]"; };
      std::string_view text;
      dom::array ids;
      Result<void> added;
      if (texts) {
        if (item.get_string().get(text)) return wrong_type(name(), "a string, as input[0] is", item);
        added = text.empty() ? add_text(name(), text) : add_text("", text);
      } else {
        if (item.get_array().get(ids)) return wrong_type(name(), "an array of token ids, as input[0] is", item);
        added = add_ids(name(), ids, count_of(ids));
      }
      if (!added) return added;
      ++index;
    }
    return {};
  }

  Result<void> add_text(const std::string& name, std::string_view text) {
    if (text.empty()) return invalid_argument("'" + name + "' must not be an empty string.", name);
    request_.inputs.emplace_back(std::string(text));
    return {};
  }

  Result<void> add_ids(const std::string& name, const dom::array& array, size_t count) {
    if (count == 0) return invalid_argument("'" + name + "' must not be an empty array.", name);
    std::vector<int32_t> ids;
    ids.reserve(count + 1);
    for (const dom::element item : array) {
      const auto id = as_integer(item);
      if (!id || *id < 0 || *id >= config_.vocab_tokens) {
        std::string where = name;
        where.append("[").append(std::to_string(ids.size())).append("]");
        const std::string wanted = "a token id from 0 to " + std::to_string(config_.vocab_tokens - 1);
        if (!id) return wrong_type(where, wanted, item);
        return must_be(where, wanted, std::to_string(*id));
      }
      ids.push_back(static_cast<int32_t>(*id));
    }
    request_.inputs.emplace_back(std::move(ids));
    return {};
  }

  // dom::array::size() saturates at 2^24 - 1, more than any limit here but less than a body may hold.
  static size_t count_of(const dom::array& array) {
    const size_t size = array.size();
    if (size < 0xFFFFFF) return size;
    size_t count = 0;
    for (auto it = array.begin(); it != array.end(); ++it) ++count;
    return count;
  }

  Result<EmbedRequest> finish() {
    if (request_.inputs.empty()) return invalid_argument("The field 'input' is required.", "input");
    if (unknown_model_) {
      std::string served;
      for (const auto& name : config_.model_names) served += (served.empty() ? "'" : ", '") + name + "'";
      return Error{ErrorCode::kNotFound,
                   "The model '" + *unknown_model_ + "' does not exist; served here: " + served + ".", "model", 0};
    }
    if (truncate_tokens_given_ && !truncate_given_) request_.truncate = Truncate::kRight;
    if (prompt_name_ && instruction_) {
      return invalid_argument("'prompt_name' and 'instruction' exclude each other.", "instruction");
    }
    if (!prompt_name_ && !instruction_) {
      request_.prompt = config_.default_prompt;
      return std::move(request_);
    }
    if (std::holds_alternative<std::vector<int32_t>>(request_.inputs.front())) {
      return invalid_argument("Token ids take no prompt: put its tokens before them, or send text.",
                              prompt_name_ ? "prompt_name" : "instruction");
    }
    if (instruction_) {
      request_.prompt = instruction_prompt(*instruction_);
      return std::move(request_);
    }
    const auto found = config_.prompts.find(*prompt_name_);
    if (found == config_.prompts.end()) {
      std::string known;
      for (const auto& [name, text] : config_.prompts) known += (known.empty() ? "\"" : ", \"") + name + "\"";
      return invalid_argument("'prompt_name' must be one of " + known + ", not \"" + *prompt_name_ + "\".",
                              "prompt_name");
    }
    request_.prompt = found->second;
    return std::move(request_);
  }

  const ApiConfig& config_;
  EmbedRequest request_;
  std::optional<std::string> unknown_model_;
  std::optional<std::string> prompt_name_;
  std::optional<std::string> instruction_;
  bool truncate_given_ = false;
  bool truncate_tokens_given_ = false;
};

Result<EmbedRequest> parse_with(dom::parser& parser, std::string& body, const ApiConfig& config) {
  const size_t depth = static_cast<size_t>(config.json_depth_max);
  if (parser.capacity() < body.size() || parser.max_depth() != depth) {
    const size_t capacity = std::max<size_t>(body.size(), 4096);
    if (const auto error = parser.allocate(capacity, depth)) return describe_json_error(error, config);
  }
  body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
  dom::element document;
  const auto error = parser.parse(body.data(), body.size(), false).get(document);
  if (error) return describe_json_error(error, config);
  return EmbedRequestParser(config).parse(document);
}

}  // namespace

Result<EmbedRequest> parse_embed_request(std::string& body, const ApiConfig& config) {
  if (body.size() > kKeptParserBytes) {
    dom::parser parser;
    return parse_with(parser, body, config);
  }
  thread_local dom::parser kept;
  return parse_with(kept, body, config);
}

std::string input_name(const EmbedRequest& request, size_t index) {
  return request.single ? "input" : "input[" + std::to_string(index) + "]";
}

}  // namespace quern
