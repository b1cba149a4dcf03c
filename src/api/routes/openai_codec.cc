#include "api/routes/openai_codec.h"

#include <algorithm>
#include <optional>

#include "api/base64.h"
#include "api/errors.h"
#include "api/input_reader.h"
#include "api/json_fields.h"
#include "api/json_writer.h"
#include "api/prompts.h"
#include "base/excerpt.h"
#include "http/http_types.h"

namespace quern {

namespace {

constexpr std::string_view kTruncateAllowed = R"(true, false, "left", "right", "NONE", "START" or "END")";
constexpr std::string_view kInputTypesAllowed =
    R"("query", "search_query", "passage", "search_document" or "document")";

std::string quoted_excerpt(std::string_view text) { return "\"" + excerpt(text) + "\""; }

// The names of a map or list, for a message: "a", "b".
template <typename Named>
std::string name_list(const Named& named) {
  std::string out;
  for (const auto& [name, rest] : named) out.append(out.empty() ? "\"" : ", \"").append(name).append("\"");
  return out;
}

// Bounds depend on the model, and the model may be named last: so the fields are gone through once, where all but
// those that need it are read, and these are read when all is known.
class Parser {
 public:
  explicit Parser(const CodecInput& input)
      : input_(input), reader_(input.body, input.config.json_depth_max, "The request body") {}

  Result<CallPlan> parse() {
    if (!read_document() || !choose_model() || !read_bounded() || !choose_prompt()) return reader_.error();
    if (!InputReader(at(*input_at_), input_, plan_).read()) return reader_.error();
    if (!check_token_ids()) return reader_.error();
    return std::move(plan_);
  }

 private:
  bool read_document() {
    JsonKind kind = JsonKind::kNull;
    if (input_.body.find_first_not_of(" \t\r\n") == std::string::npos && reader_.ok())
      return reader_.fail(invalid_argument("The request body is empty; a JSON object is expected."));
    if (!reader_.peek(kind)) return false;
    if (kind != JsonKind::kObject) {
      if (!reader_.skip() || !reader_.read_end()) return false;
      return reader_.fail(
          invalid_argument("The request body must be a JSON object, not " + std::string(json_kind_name(kind)) + "."));
    }
    const bool read = reader_.each_field([this](const JsonString& key) { return read_field(reader_.text(key)); });
    if (!read || !reader_.read_end()) return false;
    std::sort(seen_.begin(), seen_.end());
    if (const auto twice = std::adjacent_find(seen_.begin(), seen_.end()); twice != seen_.end()) {
      const std::string name = excerpt(*twice);
      return reader_.fail(invalid_argument("The field '" + name + "' is given more than once.", name));
    }
    if (!input_at_) return reader_.fail(invalid_argument("The field 'input' is required.", "input"));
    return true;
  }

  // Null means absent, as clients send it.
  bool read_field(std::string_view key) {
    if (seen_.size() == static_cast<size_t>(input_.config.json_fields_max)) {
      return reader_.fail(invalid_argument("The request body has more than " + std::to_string(seen_.size()) +
                                           " fields; no more are allowed."));
    }
    seen_.push_back(key);
    JsonKind kind = JsonKind::kNull;
    if (!reader_.peek(kind)) return false;
    const size_t here = reader_.position();
    if (key == "input") return put_off(input_at_, here);
    if (kind == JsonKind::kNull) return reader_.read_null();
    if (key == "dimensions") return put_off(dimensions_at_, here);
    if (key == "truncate_prompt_tokens") return put_off(truncate_tokens_at_, here);
    if (key == "model") return read_text(reader_, "model", model_);
    if (key == "encoding_format") return read_encoding_format();
    if (key == "user") return kind == JsonKind::kString ? reader_.skip() : wrong_kind(reader_, "user", "a string");
    if (key == "prompt_name") return read_text(reader_, "prompt_name", prompt_name_);
    if (key == "instruction") return read_text(reader_, "instruction", instruction_);
    if (key == "input_type") return read_text(reader_, "input_type", input_type_);
    if (key == "truncate") return read_truncate(kind);
    if (key == "normalize") return read_flag(reader_, "normalize", plan_.normalize);
    const ApiConfig& config = input_.config;
    if (key == "priority")
      return read_integer_as(reader_, "priority", -config.priority_max, config.priority_max, plan_.priority);
    if (key == "timeout_ms") return read_integer(reader_, "timeout_ms", 1, config.timeout_ms_max, plan_.timeout_ms);
    return reader_.skip();
  }

  bool put_off(std::optional<size_t>& where, size_t here) {
    where = here;
    return reader_.skip();
  }
  JsonReader& at(size_t position) {
    reader_.seek(position);
    return reader_;
  }

  bool read_encoding_format() {
    std::string_view name;
    if (!read_text(reader_, "encoding_format", name, R"("float" or "base64")")) return false;
    plan_.base64 = name == "base64";
    if (plan_.base64 || name == "float") return true;
    return reader_.fail(must_be("encoding_format", R"("float" or "base64")", quoted_excerpt(name)));
  }

  bool read_truncate(JsonKind kind) {
    truncate_given_ = true;
    if (kind == JsonKind::kBool) {
      bool on = false;
      if (!reader_.read_bool(on)) return false;
      plan_.truncation = on ? Truncation::kRight : Truncation::kNone;
      return true;
    }
    std::string_view side;
    if (!read_text(reader_, "truncate", side, kTruncateAllowed)) return false;
    const auto is = [side](std::string_view name) { return equal_ignoring_case(side, name); };
    if (side == "left" || is("START")) {
      plan_.truncation = Truncation::kLeft;
    } else if (side == "right" || is("END")) {
      plan_.truncation = Truncation::kRight;
    } else if (is("NONE")) {
      plan_.truncation = Truncation::kNone;
    } else {
      return reader_.fail(must_be("truncate", kTruncateAllowed, quoted_excerpt(side)));
    }
    return true;
  }

  bool choose_model() {
    plan_.model_name = input_.models.default_model().names.front();
    plan_.model = &input_.models.default_model();
    const std::string_view wanted = input_.path_model.empty() ? model_.value_or("") : input_.path_model;
    if (wanted.empty() && !model_) return true;
    plan_.model = input_.models.find(wanted);
    if (plan_.model == nullptr) {
      return reader_.fail(Error{ErrorCode::kNotFound,
                                "The model \"" + excerpt(wanted) +
                                    "\" does not exist; served here: " + name_list(input_.models.names()) + ".",
                                "model", 0});
    }
    plan_.model_name = std::string(wanted);
    return true;
  }

  bool read_bounded() {
    const ServedModel& model = *plan_.model;
    plan_.dimensions = model.width;
    plan_.tokens_max = model.context_tokens_max;
    if (dimensions_at_ && !read_integer_as(at(*dimensions_at_), "dimensions", input_.config.dimensions_min, model.width,
                                           plan_.dimensions)) {
      return false;
    }
    if (!truncate_given_)
      plan_.truncation = truncate_tokens_at_ ? Truncation::kRight : input_.config.truncation_default;
    if (!truncate_tokens_at_) return true;
    JsonKind kind = JsonKind::kNull;
    JsonNumber number;
    if (at(*truncate_tokens_at_).peek(kind) && kind == JsonKind::kNumber && reader_.read_number(number) &&
        number.is_integer && number.integer == -1) {
      return true;  // the model's limit
    }
    return read_integer_as(at(*truncate_tokens_at_), "truncate_prompt_tokens", 1, model.context_tokens_max,
                           plan_.tokens_max);
  }

  bool choose_prompt() {
    const std::pair<bool, const char*> given[] = {{prompt_name_.has_value(), "prompt_name"},
                                                  {input_type_.has_value(), "input_type"},
                                                  {instruction_.has_value(), "instruction"}};
    const char* chosen = nullptr;
    for (const auto& [is_given, name] : given) {
      if (!is_given) continue;
      if (chosen != nullptr) {
        return reader_.fail(
            invalid_argument("'" + std::string(chosen) + "' and '" + name + "' exclude each other.", name));
      }
      chosen = name;
    }
    if (instruction_ && static_cast<int64_t>(instruction_->size()) > input_.config.instruction_bytes_max) {
      return reader_.fail(invalid_argument("'instruction' has " + std::to_string(instruction_->size()) +
                                               " bytes; at most " +
                                               std::to_string(input_.config.instruction_bytes_max) + " are allowed.",
                                           "instruction"));
    }
    if (instruction_) plan_.prompt = instruction_prompt(*instruction_);
    if (input_type_) return prompt_of_type();
    if (!prompt_name_) {
      if (!instruction_) plan_.prompt = plan_.model->default_prompt;
      return true;
    }
    const auto& prompts = plan_.model->prompts;
    const auto found = prompts.find(std::string(prompt_name_->substr(0, kNameBytesMax + 1)));
    if (found == prompts.end()) {
      return reader_.fail(must_be("prompt_name", "one of " + name_list(prompts), quoted_excerpt(*prompt_name_)));
    }
    plan_.prompt = found->second;
    return true;
  }

  // NVIDIA's and Cohere's word for the prompt.
  bool prompt_of_type() {
    const bool is_query = *input_type_ == "query" || *input_type_ == "search_query";
    if (!is_query && *input_type_ != "passage" && *input_type_ != "document" && *input_type_ != "search_document") {
      return reader_.fail(must_be("input_type", kInputTypesAllowed, quoted_excerpt(*input_type_)));
    }
    const auto& prompts = plan_.model->prompts;
    const auto found = prompts.find(is_query ? "query" : "document");
    if (found != prompts.end()) plan_.prompt = found->second;
    return true;
  }

  bool check_token_ids() {
    if (std::holds_alternative<std::string_view>(plan_.inputs.front())) return true;
    if (input_.config.refuse_token_ids) {
      return reader_.fail(invalid_argument(
          "'input' holds token ids, which this server does not take (--refuse-token-ids): send text.", "input"));
    }
    const char* param = prompt_name_ ? "prompt_name" : instruction_ ? "instruction" : "input_type";
    if (!prompt_name_ && !instruction_ && (!input_type_ || plan_.prompt.empty())) {
      plan_.prompt.clear();  // the default one is for texts
      return true;
    }
    return reader_.fail(invalid_argument("Token ids take no prompt: put its tokens before them, or send text.", param));
  }

  const CodecInput& input_;
  JsonReader reader_;
  CallPlan plan_;
  std::vector<std::string_view> seen_;
  std::optional<size_t> input_at_, dimensions_at_, truncate_tokens_at_;
  std::optional<std::string_view> model_, prompt_name_, instruction_, input_type_;
  bool truncate_given_ = false;
};

}  // namespace

Result<CallPlan> parse_openai_embed(const CodecInput& input) { return Parser(input).parse(); }

int64_t openai_embed_bytes(const CallPlan& plan) {
  // A float is at most 15 characters and a comma; one vector's worth of room is left over while it is written.
  const int64_t value_bytes = plan.base64 ? 6 : 16;
  const auto vectors = static_cast<int64_t>(plan.inputs.size());
  const int64_t name_bytes = 6 * static_cast<int64_t>(plan.model_name.size());
  return vectors * (64 + plan.dimensions * value_bytes) + plan.dimensions * 20 + name_bytes + 160;
}

std::string write_openai_embed(const CallPlan& plan, std::span<const Output> outputs, int64_t tokens) {
  std::string out;
  out.reserve(static_cast<size_t>(openai_embed_bytes(plan)));
  out.append("{\"object\":\"list\",\"data\":[");
  for (size_t i = 0; i < outputs.size(); ++i) {
    out.append(i == 0 ? "{\"object\":\"embedding\",\"index\":" : ",{\"object\":\"embedding\",\"index\":");
    append_json_integer(out, static_cast<int64_t>(i));
    out.append(",\"embedding\":");
    if (plan.base64) {
      out.push_back('"');
      append_base64(out, outputs[i].values);
      out.push_back('"');
    } else {
      append_json_floats(out, outputs[i].values);
    }
    out.push_back('}');
  }
  out.append("],\"model\":");
  append_json_string(out, plan.model_name);
  out.append(",\"usage\":{\"prompt_tokens\":");
  append_json_integer(out, tokens);
  out.append(",\"total_tokens\":");
  append_json_integer(out, tokens);
  out.append("}}");
  return out;
}

const Codec kOpenaiCodec = {parse_openai_embed, write_openai_embed, openai_embed_bytes, error_response};

}  // namespace quern
