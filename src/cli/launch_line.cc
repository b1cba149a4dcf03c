#include "cli/launch_line.h"

#include <simdjson.h>

#include <algorithm>
#include <optional>

#include "base/ascii.h"
#include "base/excerpt.h"
#include "cli/launch_flags.h"

namespace quern {
namespace {

constexpr std::string_view kModelFlag = "--model-path";

/// What stands behind FROM= in a row's values, whatever the case of `from`.
std::optional<std::string> value_for(std::string_view values, std::string_view from) {
  for (const std::string_view word : split_words(values)) {
    const size_t equals = word.find('=');
    if (equals != std::string_view::npos && word.substr(0, equals) == to_lower(from))
      return std::string(word.substr(equals + 1));
  }
  return std::nullopt;
}

bool allows(std::string_view values, std::string_view value) {
  const auto words = split_words(values);
  return words.empty() || std::find(words.begin(), words.end(), to_lower(value)) != words.end();
}

/// "8k" is 8000, "8K" is 8192; what is no such number is returned as it is.
std::string read_count(const std::string& text) {
  constexpr std::string_view kSuffixes = "kKmM";
  constexpr int64_t kFactors[] = {1000, 1 << 10, 1'000'000, 1 << 20};
  const size_t suffix = text.empty() ? std::string_view::npos : kSuffixes.find(text.back());
  if (suffix == std::string_view::npos) return text;
  const auto number = parse_integer(std::string_view(text).substr(0, text.size() - 1), 0, 1 << 20);
  return number ? std::to_string(*number * kFactors[suffix]) : text;
}

Error refusal(const std::string& name, const std::string& value, const LaunchFlag& flag) {
  std::string message = value.empty() ? "not built here" : "\"" + excerpt(value) + "\" is not built here";
  if (!flag.values.empty()) {
    message += "; allowed: ";
    const auto words = split_words(flag.values);
    for (size_t i = 0; i < words.size(); ++i) message += (i == 0 ? "" : ", ") + std::string(words[i]);
  }
  return invalid_argument(message + " (" + std::string(flag.why) + ")", name);
}

/// Every key of the JSON object is allowed by the row, with its value where the row names one.
Result<void> check_json(const std::string& name, const std::string& text, const LaunchFlag& flag) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(text).get(object) != simdjson::SUCCESS)
    return invalid_argument("expected a JSON object, found \"" + excerpt(text) + "\"", name);
  for (const auto& [key, value] : object) {
    std::string found = simdjson::minify(value);
    std::erase(found, '"');
    const bool any_value = !flag.values.empty() && allows(flag.values, key);
    if (!any_value && value_for(flag.values, key) != to_lower(found))
      return refusal(name, std::string(key) + "=" + found, flag);
  }
  return {};
}

class Reader {
 public:
  Reader(const std::vector<std::string>& args, const std::function<bool(const std::string&)>& takes_value)
      : args_(args), takes_value_(takes_value) {}

  Result<LaunchLine> read() {
    while (at_ < args_.size()) {
      if (auto read = read_one(args_[at_++]); !read) return read.error();
    }
    std::string notice;
    if (!renamed_.empty()) notice = "read as Quern's own: " + renamed_;
    if (!no_meaning_.empty()) notice += (notice.empty() ? "" : "; ") + ("without a meaning here: " + no_meaning_);
    return LaunchLine{std::move(out_), std::move(notice), std::move(origins_)};
  }

 private:
  Result<void> read_one(const std::string& arg) {
    if (arg.size() < 2 || arg[0] != '-') return read_word(arg);
    const size_t equals = arg.starts_with("--") ? arg.find('=') : std::string::npos;
    const std::string name = arg.substr(0, equals);
    inline_value_.reset();
    if (equals != std::string::npos) inline_value_ = arg.substr(equals + 1);
    if (inline_value_ && inline_value_->empty())
      return invalid_argument("is empty; leave the flag out for its default", name);
    const LaunchFlag* flag = find_launch_flag(name);
    if (flag == nullptr && !takes_value_(name)) {  // --max_model_len is --max-model-len to some
      std::string dashes = name;
      std::replace(dashes.begin(), dashes.end(), '_', '-');
      flag = find_launch_flag(dashes);
    }
    if (flag != nullptr) return read_foreign(name, *flag);
    out_.push_back(arg);
    if (!inline_value_ && takes_value_(name) && at_ < args_.size()) out_.push_back(args_[at_++]);
    return {};
  }

  Result<void> read_word(const std::string& word) {
    if (has_model_) {
      return invalid_argument("\"" + excerpt(word) + "\" belongs to no flag, and the model has been named already");
    }
    has_model_ = true;
    out_.insert(out_.end(), {std::string(kModelFlag), word});
    return {};
  }

  Result<void> read_foreign(const std::string& name, const LaunchFlag& flag) {
    if (flag.fate == Fate::kRefused) return refusal(name, "", flag);
    const auto values = read_values(name, flag);
    if (!values) return values.error();
    if (flag.fate == Fate::kBecomes) {
      for (const std::string& value : *values) add_ours(name, flag, value);
      return {};
    }
    for (const std::string& value : *values) {
      if (flag.takes == Takes::kJson) {
        if (auto checked = check_json(name, value, flag); !checked) return checked;
      } else if (flag.takes != Takes::kNothing && !allows(flag.values, value)) {
        return refusal(name, value, flag);
      }
    }
    no_meaning_ += (no_meaning_.empty() ? "" : ", ") + name;
    return {};
  }

  void add_ours(const std::string& name, const LaunchFlag& flag, const std::string& value) {
    const std::string ours(flag.ours);
    std::string mapped = value_for(flag.values, value).value_or(value);
    if (flag.takes == Takes::kCount) mapped = read_count(mapped);
    if (name != ours || mapped != value) {
      renamed_ += (renamed_.empty() ? "" : ", ") + name + (mapped == value ? "" : " " + excerpt(value)) + " as " +
                  (mapped.empty() ? "the default" : ours + (mapped == value ? "" : " " + mapped));
    }
    if (name != ours) origins_[ours] = name;
    if (ours == kModelFlag) has_model_ = true;
    if (mapped.empty() && !value.empty()) return;
    if (flag.takes == Takes::kMaybe) {
      out_.push_back(ours + "=" + mapped);
    } else {
      out_.insert(out_.end(), {ours, mapped});
    }
  }

  /// A value may begin with one dash, as -1 does, but is no flag.
  bool value_follows() const {
    if (at_ >= args_.size()) return false;
    const std::string& next = args_[at_];
    return !next.starts_with("-") || parse_integer(next, INT64_MIN, INT64_MAX).has_value();
  }

  Result<std::vector<std::string>> read_values(const std::string& name, const LaunchFlag& flag) {
    if (flag.takes == Takes::kNothing || flag.takes == Takes::kMaybe) {
      std::vector<std::string> value = {inline_value_.value_or("true")};
      static constexpr std::string_view kSwitch = "true false on off auto 0 1";
      if (!inline_value_ && flag.takes == Takes::kMaybe && at_ < args_.size() && allows(kSwitch, args_[at_]))
        value[0] = args_[at_++];
      return value;
    }
    if (inline_value_) return std::vector{*inline_value_};
    if (!value_follows()) return invalid_argument("a value must follow", name);
    std::vector<std::string> values = {args_[at_++]};
    while (flag.takes == Takes::kValues && value_follows()) values.push_back(args_[at_++]);
    return values;
  }

  const std::vector<std::string>& args_;
  const std::function<bool(const std::string&)>& takes_value_;
  size_t at_ = 0;
  bool has_model_ = false;
  std::optional<std::string> inline_value_;
  std::vector<std::string> out_;
  std::string renamed_, no_meaning_;
  FlagOrigins origins_;
};

}  // namespace

Result<LaunchLine> read_launch_line(const std::vector<std::string>& args,
                                    const std::function<bool(const std::string& flag)>& takes_value) {
  return Reader(args, takes_value).read();
}

}  // namespace quern
