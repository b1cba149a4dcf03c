#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <future>
#include <sstream>

#include "api/api_config.h"
#include "api/prompts.h"
#include "app/model_stack.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/embed_input.h"
#include "cli/embed_output.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "model/known_answers.h"

namespace quern {
namespace {

constexpr size_t kInputsInFlightMax = 1024;  // read ahead of the model; bounds memory
constexpr int64_t kFlushRows = 64;           // a kill -9 costs about this many rows of work

/// An input on its way: its answer may come before that of an earlier one, it is written behind it.
struct Pending {
  std::string id_json;
  int64_t line = 0;
  int64_t tokens = 0;
  uint64_t input_hash = 0;
  std::shared_ptr<std::promise<Result<Output>>> promise;
  std::future<Result<Output>> vector;
};

Result<std::string> choose_prompt(const EmbedOptions& options, const ModelFolder& files) {
  if (!options.instruction.empty()) {
    if (!options.prompt_name.empty())
      return invalid_argument("give --prompt-name or --instruction, not both", "--instruction");
    return instruction_prompt(options.instruction);
  }
  if (options.prompt_name.empty()) return files.default_prompt;
  const auto prompt = files.prompts.find(options.prompt_name);
  if (prompt != files.prompts.end()) return prompt->second;
  std::string known;
  for (const auto& [name, text] : files.prompts) known += (known.empty() ? "" : ", ") + name;
  return invalid_argument("the model has no prompt \"" + options.prompt_name + "\"; allowed: " + known,
                          "--prompt-name");
}

/// What the model is computed in. What "auto" is follows from the checkpoint, which is not read yet, and from whether
/// products of bf16 are native here.
Result<std::string> resolved_dtype(const ModelOptions& options, const OpenDevice& opened) {
  const auto chosen = chosen_dtype(options, opened.device);
  if (!chosen) return chosen.error();
  if (*chosen) return std::string(dtype_name(**chosen));
  return "auto (bf16 as " + std::string(dtype_name(opened.ops->preferred(DType::kBf16).weights)) + ")";
}

/// All that the vectors depend on: a run is continued only under the same line. How sums are associated follows from
/// the device's model; the output's format is the writer's to add.
std::string settings_line(const EmbedOptions& options, const ModelFolder& folder, const Device& device,
                          const std::string& dtype, const InputReader& reader, int32_t dimensions) {
  std::ostringstream line;
  line << "model=" << folder.dir << " dtype=" << dtype << " quantization=" << options.model.quantization
       << " device=" << (device.is_gpu() ? "cuda" : "cpu") << " (" << device.model << ") input=" << options.input
       << " input-format=" << reader.format() << " prompt-name=" << options.prompt_name
       << " instruction=" << options.instruction << " dimensions=" << dimensions
       << " context-length=" << folder.context_tokens_max << " truncate=" << options.truncate
       << " append-eos=" << options.model.append_eos;
  return line.str();
}

class EmbedRun {
 public:
  EmbedRun(const EmbedOptions& options, const ModelStack& stack, Engine& engine, std::string prompt, int32_t dimensions)
      : options_(options), stack_(stack), engine_(engine), prompt_(std::move(prompt)), dimensions_(dimensions) {}

  Result<void> run(InputReader& reader, OutputWriter& writer) {
    const int64_t rows_before = writer.rows();
    ProgressBar bar("embed", "texts", reader.count_records());
    const int64_t begin_us = now_us();
    Result<void> outcome;
    while (outcome.ok()) {
      auto record = reader.next();
      if (!record) outcome = record.error();
      if (!record || !record->has_value()) break;
      outcome = submit(std::move(**record));
      while (outcome.ok() && pending_.size() >= kInputsInFlightMax) outcome = write_oldest(writer, bar, begin_us);
    }
    // Also after an error: what came before the bad line is kept.
    while (!pending_.empty()) {
      auto written = write_oldest(writer, bar, begin_us);
      if (!written && outcome.ok()) outcome = written;
    }
    if (!outcome) {
      (void)writer.flush();
      return outcome;
    }
    if (writer.rows() == 0) return invalid_argument(options_.input + " holds no text", "--input");
    if (auto closed = writer.close(reader.hash()); !closed) return closed;
    bar.end();
    const double seconds = static_cast<double>(now_us() - begin_us) * 1e-6;
    std::fprintf(stderr, "quern embed: %lld texts, %lld tokens, %.1f s", static_cast<long long>(writer.rows()),
                 static_cast<long long>(tokens_), seconds);
    if (rows_before > 0)
      std::fprintf(stderr, "; %lld of the texts were done before", static_cast<long long>(rows_before));
    std::fputc('\n', stderr);
    return {};
  }

 private:
  Result<void> submit(InputRecord record) {
    auto ids = encode_text(stack_.folder(), prompt_, record.text, options_.truncate);
    if (!ids) {
      return Error{ids.error().code, "line " + std::to_string(record.line + 1) + ": " + ids.error().message, "", 0};
    }
    if (ids->empty()) {
      return invalid_argument("line " + std::to_string(record.line + 1) +
                              ": an empty text, which this model's tokenizer makes no token of");
    }
    Pending pending{std::move(record.id_json),
                    record.line,
                    static_cast<int64_t>(ids->size()),
                    record.input_hash,
                    std::make_shared<std::promise<Result<Output>>>(),
                    {}};
    pending.vector = pending.promise->get_future();
    std::vector<Job> jobs(1);
    jobs[0].token_ids = std::move(*ids);
    jobs[0].completion = [promise = pending.promise](Result<Output> vector, const JobTiming&) {
      promise->set_value(std::move(vector));
    };
    if (auto submitted = engine_.submit(std::move(jobs)); !submitted) return submitted.error();
    pending_.push_back(std::move(pending));
    return {};
  }

  Result<void> write_oldest(OutputWriter& writer, ProgressBar& bar, int64_t begin_us) {
    Pending pending = std::move(pending_.front());
    pending_.pop_front();
    Result<Output> vector = pending.vector.get();
    if (!vector) return vector.error();
    if (auto done = cut(vector->values, dimensions_, true); !done) return done;
    if (auto written = writer.write(pending.id_json, vector->values, pending.input_hash); !written) return written;
    tokens_ += pending.tokens;
    if (writer.rows() % kFlushRows == 0) {
      if (auto flushed = writer.flush(); !flushed) return flushed;
    }
    const double seconds = static_cast<double>(now_us() - begin_us) * 1e-6;
    bar.update(
        writer.rows(),
        std::to_string(static_cast<int64_t>(static_cast<double>(tokens_) / std::max(seconds, 1e-3))) + " tokens/s");
    return {};
  }

  const EmbedOptions& options_;
  const ModelStack& stack_;
  Engine& engine_;
  const std::string prompt_;
  const int32_t dimensions_;
  std::deque<Pending> pending_;
  int64_t tokens_ = 0;
};

/// The output is complete already: right when the input is the same, read to its end.
Result<void> confirm_complete(const EmbedOptions& options, InputReader& reader, const OutputWriter& writer) {
  if (auto read = reader.skip_rest(); !read) return read;
  if (auto same = writer.check_input(reader.hash()); !same) return same;
  std::fprintf(stderr, "quern embed: %s is complete already, from the same input and settings\n",
               options.output.c_str());
  return {};
}

Result<void> embed_file(const EmbedOptions& options) {
  auto files = read_model_folder(options.model);
  if (!files) return files.error();
  auto prompt = choose_prompt(options, *files);
  if (!prompt) return prompt.error();
  const int32_t width = files->width();
  const int32_t least = ApiConfig().dimensions_min;  // as over HTTP
  if (options.dimensions != 0 && (options.dimensions < least || options.dimensions > width)) {
    return invalid_argument("is " + std::to_string(options.dimensions) + "; allowed: " + std::to_string(least) +
                                " to " + std::to_string(width),
                            "--dimensions");
  }
  auto reader = InputReader::open(options.input, options.input_format);
  if (!reader) return reader.error();
  const MachineLimits machine = read_machine_limits();
  auto opened = open_device(options.model, machine);
  if (!opened) return opened.error();

  const int32_t dimensions = options.dimensions == 0 ? width : options.dimensions;
  const auto dtype = resolved_dtype(options.model, *opened);
  if (!dtype) return dtype.error();
  auto writer =
      OutputWriter::open({options.output, options.output_format, dimensions, options.overwrite,
                          settings_line(options, *files, opened->device, *dtype, *reader, dimensions), options.input});
  if (!writer) return writer.error();
  if (writer->was_complete()) return confirm_complete(options, *reader, *writer);
  if (auto skipped = reader->skip(writer->rows()); !skipped) return skipped;
  if (auto same = writer->check_begun(reader->hash()); !same) return same;
  auto stack = load_model(*files, options.model, std::move(*opened), machine);
  if (!stack) return stack.error();
  SchedulerConfig scheduler = (*stack)->scheduler_config();
  scheduler.brief_batch_tokens_max = 0;  // nobody waits for one text of a file
  scheduler.queue_tokens_max = static_cast<int64_t>(kInputsInFlightMax + 1) * scheduler.context_tokens_max;
  Engine engine({scheduler}, {(*stack)->replica()});
  if (auto checked = check_model(**stack, engine, options.model); !checked) return checked.error();
  if (auto begun = writer->begin(); !begun) return begun;
  return EmbedRun(options, **stack, engine, std::move(*prompt), dimensions).run(*reader, *writer);
}

}  // namespace

int embed_command(const EmbedOptions& options) {
  const auto done = embed_file(options);
  return done ? 0 : report_error("embed", done.error(), options.model.origins);
}

}  // namespace quern
