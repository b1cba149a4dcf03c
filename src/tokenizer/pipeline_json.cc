#include "tokenizer/pipeline_json.h"

#include <utility>
#include <vector>

namespace quern {
namespace {

using simdjson::dom::array;
using Element = FileErrors::Element;

struct Step {
  Element value;
  std::string path;
};

/// Appends the steps of `value`; those of a Sequence, whose list is called `key`, in its place.
Result<void> flatten(Element value, const std::string& path, const char* key, const FileErrors& errors,
                     std::vector<Step>& steps) {
  if (value.is_null()) return {};
  if (type_of(value) != "Sequence") {
    steps.push_back({value, path});
    return {};
  }
  array list;
  if (value[key].get(list)) return errors.field(path + "." + key, "must be an array");
  size_t index = 0;
  for (const Element step : list) {
    const std::string step_path = path + "." + key + "[" + std::to_string(index++) + "]";
    if (step.is_null()) return errors.field(step_path, "must not be null");
    if (auto ok = flatten(step, step_path, key, errors, steps); !ok) return ok;
  }
  return {};
}

Result<std::vector<Step>> steps_of(Element root, const char* field, const char* key, const FileErrors& errors) {
  std::vector<Step> steps;
  Element value;
  if (root[field].get(value)) return steps;
  if (auto ok = flatten(value, field, key, errors, steps); !ok) return ok.error();
  return steps;
}

Result<bool> parse_normalizer(Element root, const FileErrors& errors) {
  auto steps = steps_of(root, "normalizer", "normalizers", errors);
  if (!steps) return steps.error();
  for (const Step& step : *steps) {
    if (type_of(step.value) != "NFC") return errors.refused(step.path, step.value, "null, NFC, a Sequence of NFC");
  }
  return !steps->empty();
}

Result<void> check_byte_level(const Step& step, const FileErrors& errors) {
  if (type_of(step.value) != "ByteLevel") return errors.refused(step.path, step.value, "ByteLevel after Split");
  for (const char* flag : {"add_prefix_space", "use_regex"}) {
    bool on = true;
    if (step.value[flag].get(on) || on) return errors.field(step.path + "." + flag, "must be false");
  }
  return {};
}

Result<Splitter> parse_split(const Step& step, const FileErrors& errors) {
  if (type_of(step.value) != "Split") return errors.refused(step.path, step.value, "Split before ByteLevel");
  std::string_view text;
  if (step.value["behavior"].get(text) || text != "Isolated") {
    return errors.field(step.path + ".behavior", "must be \"Isolated\"");
  }
  bool invert = true;
  if (step.value["invert"].get(invert) || invert) return errors.field(step.path + ".invert", "must be false");
  Element pattern;
  if (step.value["pattern"].get(pattern)) return errors.field(step.path + ".pattern", "missing");
  if (pattern["Regex"].get(text)) return errors.refused(step.path + ".pattern", pattern, "{\"Regex\":\"...\"}");
  auto splitter = Splitter::make(std::string(text));
  if (!splitter) return errors.field(step.path + ".pattern.Regex", splitter.error().message);
  return splitter;
}

Result<Splitter> parse_pre_tokenizer(Element root, const FileErrors& errors) {
  auto steps = steps_of(root, "pre_tokenizer", "pretokenizers", errors);
  if (!steps) return steps.error();
  if (steps->size() != 2) {
    const std::string found = std::to_string(steps->size()) + (steps->size() == 1 ? " step" : " steps");
    return errors.field("pre_tokenizer", found + " found; allowed: a Sequence of Split and ByteLevel");
  }
  auto splitter = parse_split((*steps)[0], errors);
  if (!splitter) return splitter;
  if (auto ok = check_byte_level((*steps)[1], errors); !ok) return ok.error();
  return splitter;
}

/// The token that a TemplateProcessing appends, if any.
Result<std::optional<int32_t>> parse_template(const Step& step, const FileErrors& errors) {
  const std::string allowed = "the sequence A, then at most one special token";
  const std::string path = step.path + ".single";
  Element single;
  if (step.value["single"].get(single)) return errors.field(path, "missing");
  array pieces;
  std::string_view sequence, token;
  if (single.get(pieces) || pieces.size() < 1 || pieces.size() > 2 || pieces.at(0)["Sequence"]["id"].get(sequence) ||
      sequence != "A") {
    return errors.refused(path, single, allowed);
  }
  if (pieces.size() == 1) return std::optional<int32_t>();
  if (pieces.at(1)["SpecialToken"]["id"].get(token)) return errors.refused(path, single, allowed);
  simdjson::dom::object special_tokens;
  array ids;
  int64_t id = -1;
  if (step.value["special_tokens"].get(special_tokens) || special_tokens[token]["ids"].get(ids) || ids.size() != 1 ||
      ids.at(0).get(id) || id < 0 || id > kTokenIdMax) {
    return errors.field(step.path + ".special_tokens", "must give \"" + excerpt(token) + "\" exactly one id");
  }
  return std::optional(static_cast<int32_t>(id));
}

Result<std::optional<int32_t>> parse_post_processor(Element root, const FileErrors& errors) {
  auto steps = steps_of(root, "post_processor", "processors", errors);
  if (!steps) return steps.error();
  std::optional<int32_t> eos_id;
  for (const Step& step : *steps) {
    // ByteLevel only moves offsets here, and ids have none.
    if (type_of(step.value) == "ByteLevel") continue;
    if (type_of(step.value) != "TemplateProcessing") {
      return errors.refused(step.path, step.value, "null, ByteLevel, TemplateProcessing, a Sequence of these");
    }
    auto appended = parse_template(step, errors);
    if (!appended) return appended;
    if (*appended && eos_id) return errors.field(step.path, "appends a second end token; at most one is implemented");
    if (*appended) eos_id = *appended;
  }
  return eos_id;
}

/// Ids do not depend on the decoder; decode() does what ByteLevel does, and Fuse joins what is one text already.
Result<void> check_decoder(Element root, const FileErrors& errors) {
  auto steps = steps_of(root, "decoder", "decoders", errors);
  if (!steps) return steps.error();
  for (const Step& step : *steps) {
    if (type_of(step.value) == "ByteLevel" || type_of(step.value) == "Fuse") continue;
    return errors.refused(step.path, step.value, "null, ByteLevel, Fuse, a Sequence of these");
  }
  return {};
}

}  // namespace

Result<Pipeline> parse_pipeline(Element root, const FileErrors& errors) {
  auto nfc = parse_normalizer(root, errors);
  if (!nfc) return nfc.error();
  auto splitter = parse_pre_tokenizer(root, errors);
  if (!splitter) return splitter.error();
  auto eos_id = parse_post_processor(root, errors);
  if (!eos_id) return eos_id.error();
  if (auto ok = check_decoder(root, errors); !ok) return ok.error();
  return Pipeline{std::move(*splitter), *nfc, *eos_id};
}

}  // namespace quern
