#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>

#include "cli/checked_toml.h"
#include "cli/launch_line.h"
#include "cli/nearest.h"
#include "cli/report.h"

namespace quern {
namespace {

constexpr const char* kModelHelp =
    "Model folder (config.json, tokenizer.json, *.safetensors), or ORG/NAME[@REVISION] from the local Hugging Face "
    "cache; default: the small model that comes with quern";

// Far beyond any machine, far below what sums of them may hold.
constexpr int64_t kBytesMax = int64_t{1} << 40;
constexpr int32_t kSecondsMax = 24 * 3600;

/// --batch-tokens -> QUERN_BATCH_TOKENS
std::string env_name(const std::string& flag) {
  std::string name = "QUERN_";
  for (char c : flag.substr(2)) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

/// Adds a flag with its environment variable and its default shown in --help.
template <typename T>
CLI::Option* add(CLI::App& app, const std::string& flags, T& target, const std::string& help) {
  const std::string first = flags.substr(0, flags.find(','));
  return app.add_option(flags, target, help)->envname(env_name(first))->capture_default_str();
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag, bool& target, const std::string& help) {
  CLI::Validator is_switch(CLI::IsMember({"true", "false", "on", "off", "yes", "no", "1", "0"}, CLI::ignore_case));
  return app.add_flag(flag, target, help)->envname(env_name(flag))->check(is_switch.description(""));
}

/// Which model, and how its texts become ids.
void add_folder_options(CLI::App& app, ModelOptions& model) {
  app.add_option("--model-path,--model-id", model.model_path, kModelHelp)->envname(env_name("--model-path"));
  add(app, "--revision", model.revision, "Branch, tag or commit of an ORG/NAME; default: main");
  add_flag(app, "--append-eos", model.append_eos, "Append the end token where the model's tokenizer.json appends none");
}

void add_model_options(CLI::App& app, ModelOptions& model) {
  add_folder_options(app, model);
  add(app, "--device", model.device,
      "What computes: auto (a GPU where libquern_cuda.so finds one, else the CPU), cpu, cuda, cuda:N");
  add(app, "--dtype", model.dtype,
      "Compute type: auto (bf16 where the processor or the GPU has it, else f32; f32 on a CPU for f16 checkpoints), "
      "f32, bf16; f16 on a GPU; half or float16: f16 on a GPU, auto on a CPU")
      ->transform(
          CLI::IsMember({"auto", "f32", "float32", "bf16", "bfloat16", "f16", "float16", "half"}, CLI::ignore_case));
  add(app, "--quantization", model.quantization,
      "none, or fp8 on a GPU: products of 8-bit floats (e4m3, a scale for each output of a weight), made from the "
      "checkpoint at start; the rest is bf16")
      ->transform(CLI::IsMember({"none", "fp8"}, CLI::ignore_case));
  add(app, "--threads", model.threads, "Compute threads; 0: one per core")->check(CLI::Range(0, 1024));
  add(app, "--context-length,--max-model-len", model.context_tokens_max,
      "Longest input in tokens; 0: the model's own limit")
      ->check(CLI::Range(0, 1 << 20));
  add(app, "--max-batch-tokens,--chunked-prefill-size", model.batch_tokens_max,
      "Tokens computed in one step; longer inputs are fed in chunks; default: 1024, on a GPU 8192")
      ->check(CLI::Range(kBatchTokensMin, 1 << 20));
  add(app, "--max-batch-inputs", model.batch_spans_max, "Inputs computed in one step; default: 256")
      ->check(CLI::Range(2, 1 << 16));
  add(app, "--max-query-batch-tokens", model.query_batch_tokens_max,
      "Tokens computed in one step, and one step at a time, within a second of a request of at most 64 tokens; 16 to "
      "--max-batch-tokens, or 0: as ever; default: 0, on a GPU 2048")
      ->check(CLI::Range(0, 1 << 20));
  add(app, "--spare-kv-tokens", model.spare_kv_tokens,
      "K/V for long inputs beside one of the full context, in tokens; 0: an eighth of --context-length")
      ->check(CLI::Range(0, 1 << 20));
  add_flag(app, "--skip-check", model.skip_check, "Do not compare the model with its known_answers.json at start");
}

void register_options(CLI::App& app, ServeOptions& o) {
  app.description(
      "Serve embeddings over HTTP: OpenAI's /v1/embeddings and more. GET /openapi.json describes every route.");
  add_model_options(app, o.model);
  add(app, "--served-model-name", o.served_model_names,
      "Name clients ask for; repeat it for several, * takes any name; default: the model folder's name");
  add_flag(app, "--refuse-token-ids", o.refuse_token_ids, "Refuse token ids as input: they may be another tokenizer's");
  add_flag(app, "--auto-truncate", o.auto_truncate, "Cut inputs that are too long, where a request does not say");
  add(app, "--host", o.host, "Address to listen on; 0.0.0.0 for every interface");
  add(app, "--port", o.port, "Port to listen on; 0: a free one")->check(CLI::Range(0, 65535));
  add(app, "--port-file", o.port_file, "Write the port to this file once listening (useful with --port 0)");
  add(app, "--api-key", o.api_keys,
      "Key of 8 or more characters that clients must send, as `Authorization: Bearer KEY` or `api-key: KEY`; repeat it "
      "for "
      "several");
  add(app, "--api-key-file", o.api_key_file,
      "File with one key a line, `KEY`, `KEY NAME` or `KEY NAME PRIORITY`; # begins a comment");
  add(app, "--cors-origin", o.cors_origins,
      "Allow browsers from this origin, or * for any; repeat it for several; default: none");
  add(app, "--log-level", o.log_level, "debug, info, warn or error")
      ->transform(CLI::IsMember({"debug", "info", "warn", "error"}, CLI::ignore_case));
  add(app, "--http-threads", o.http_threads, "Threads that read and write sockets")->check(CLI::Range(1, 256));
  add(app, "--max-connections", o.connections_max, "Open connections; further ones are answered 503")
      ->check(CLI::Range(1, 1 << 20));
  add(app, "--max-body-bytes", o.body_bytes_max, "Longest request body; longer ones are answered 413")
      ->check(CLI::Range(int64_t{1}, kBytesMax));
  add(app, "--max-buffered-bytes", o.buffered_bytes_max,
      "Memory for requests: bodies, token ids, vectors, answers; above it, requests are answered 429. 0: half "
      "of what the model leaves of the machine, at most 1 GiB or what the longest body needs")
      ->check(CLI::Range(int64_t{0}, kBytesMax));
  add(app, "--max-header-bytes", o.header_bytes_max, "Longest request head; longer ones are answered 431")
      ->check(CLI::Range(256, 1 << 30));
  add(app, "--max-client-batch-size,--max-inputs", o.inputs_max, "Inputs in one request")
      ->check(CLI::Range(1, 1 << 20));
  add(app, "--max-queue-tokens", o.queue_tokens_max,
      "Tokens waiting at most; requests beyond are answered 429 with Retry-After, or 413 if they could never fit")
      ->check(CLI::Range(int64_t{1}, kBytesMax));
  add(app, "--max-queue-jobs,--max-queued-requests", o.queue_jobs_max,
      "Inputs waiting at most; requests beyond are answered 429, or 413 if they could never fit")
      ->check(CLI::Range(1, 1 << 30));
  add(app, "--request-timeout-ms", o.request_timeout_ms, "Deadline of a request without its own timeout_ms; 0: none")
      ->check(CLI::Range(0, kSecondsMax * 1000));
  add(app, "--idle-timeout-s", o.idle_timeout_s, "Close a connection without a request after this long")
      ->check(CLI::Range(1, kSecondsMax));
  add(app, "--read-timeout-s", o.read_timeout_s, "Longest time for a client to send a request it has begun")
      ->check(CLI::Range(1, kSecondsMax));
  add(app, "--drain-grace-s", o.drain_grace_s,
      "On SIGTERM: answer 503 on /ready and serve on for this long, so that load balancers look elsewhere")
      ->check(CLI::Range(0, 3600));
  add(app, "--drain-timeout-s", o.drain_timeout_s, "On SIGTERM: finish accepted requests for at most this long")
      ->check(CLI::Range(0, kSecondsMax));
}

void register_options(CLI::App& app, EmbedOptions& o) {
  app.description(
      "Embed a file: one text a line, or JSON Lines with \"text\" (and \"id\"). Writes one vector a line, or one .npy "
      "row.\n"
      "Interrupted? Run the same command again: it continues behind the last whole row; run on a complete output, it "
      "says so.\n"
      "Input is UTF-8; a byte-order mark and CRLF are passed over, UTF-16, NUL and other bytes refused by line. In "
      "text "
      "each\n"
      "line is a row, a blank one too; in JSON Lines blank lines are passed over and \"text\": \"\" is refused. CSV, "
      "Parquet\n"
      "and JSON arrays are not read: the message has the line that converts them.");
  add_model_options(app, o.model);
  add(app, "--input,-i", o.input, "Input file; - is stdin");
  add(app, "--input-format", o.input_format, "auto (by the name's ending), text, jsonl");
  add(app, "--output,-o", o.output, "Output file; - is stdout");
  add(app, "--output-format", o.output_format, "auto (by the name's ending), jsonl, npy");
  add(app, "--prompt-name", o.prompt_name, "A prompt of the model: query or document");
  add(app, "--instruction", o.instruction, "A task of your own, put before each text as `Instruct: TASK\\nQuery:`");
  add(app, "--dimensions", o.dimensions, "Cut vectors to this width, 32 or more, and normalise again; 0: full width")
      ->check(CLI::Range(0, 1 << 20));
  add_flag(app, "--truncate", o.truncate, "Cut inputs longer than the context at the end instead of stopping");
  add_flag(app, "--overwrite", o.overwrite, "Start over when the output file exists");
}

void register_options(CLI::App& app, TokenizeOptions& o) {
  app.description("Show how the model's tokenizer cuts a text: ids and pieces. Reads stdin where no text is given.");
  add_folder_options(app, o.model);
  app.add_option("text", o.text, "The text (with --decode: ids)");
  add_flag(app, "--no-special-tokens", o.no_special_tokens, "Do not append the end-of-text token");
  add_flag(app, "--ids-only", o.ids_only, "Print ids alone, one line for each input line");
  add_flag(app, "--decode", o.decode, "Turn ids back into text");
}

void register_options(CLI::App& app, VerifyOptions& o) {
  app.description(
      "Check a model: compare its vectors with the known answers stored beside it, and its published similarity "
      "scores\n"
      "where they are known. Exit code 0: all agree; 1: they do not.");
  add_model_options(app, o.model);
}

void register_options(CLI::App& app, BenchOptions& o) {
  app.description(
      "Measure this machine: verifies first, then reports tokens/s and the share of what the bare matrix products "
      "reach in the\n"
      "same run. A case is TOKENSxINPUTS.");
  add_model_options(app, o.model);
  add(app, "--cases", o.cases, "Cases to run, separated by commas");
  add(app, "--seconds", o.seconds, "Time for each case")->check(CLI::Range(0.1, 3600.0));
  add(app, "--in-flight", o.in_flight,
      "Instead of the cases: the engine's rate with this many inputs always in flight, as HTTP clients would keep them")
      ->check(CLI::Range(0, 4096));
  add(app, "--text", o.text, "The input of --in-flight");
}

/// CLI11's own text for a bad flag does not say which one was meant.
std::string explain_extras(const CLI::App& app) {
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  std::string text;
  for (const std::string& extra : app.remaining()) {
    text += "unknown argument: " + extra;
    const std::string nearest = nearest_name(extra.substr(0, extra.find('=')), known);
    if (!nearest.empty()) text += "; did you mean " + nearest + "?";
    text += '\n';
  }
  return text;
}

bool is_given(const CLI::Option& option, const std::vector<std::string>& args) {
  const auto names_it = [&](const std::string& arg) { return option.check_name(arg.substr(0, arg.find('='))); };
  return std::any_of(args.begin(), std::ranges::find(args, "--"), names_it);
}

/// The command line, and behind it the environment's flags that it does not give. CLI11 itself ranks the environment
/// below the configuration file; people expect it above.
std::vector<std::string> with_environment(const CLI::App& app, std::vector<std::string> args, FlagOrigins& origins) {
  std::vector<std::string> from_environment;
  for (const CLI::Option* option : app.get_options()) {
    const char* value = option->get_envname().empty() ? nullptr : std::getenv(option->get_envname().c_str());
    if (value == nullptr || *value == 0 || is_given(*option, args)) continue;  // an empty variable is an unset one
    const std::string flag = "--" + option->get_lnames()[0];
    origins[flag] = option->get_envname();
    from_environment.push_back(flag + "=" + value);
  }
  args.insert(args.begin(), from_environment.begin(), from_environment.end());
  return args;
}

/// `--flag ""` and `--flag=` are what a script writes whose variable is not set.
Result<void> refuse_empty(const CLI::App& app, const std::vector<std::string>& args) {
  for (size_t i = 0; i < args.size() && args[i] != "--"; ++i) {
    const size_t equals = args[i].find('=');
    const bool is_flag = args[i].starts_with("-") && args[i].size() > 1;
    const CLI::Option* option = is_flag ? app.get_option_no_throw(args[i].substr(0, equals)) : nullptr;
    if (option == nullptr) continue;
    const bool takes_next = equals == std::string::npos && option->get_items_expected_min() > 0;
    if (equals + 1 == args[i].size() || (takes_next && i + 1 < args.size() && args[i + 1].empty()))
      return invalid_argument("is empty; leave the flag out for its default", "--" + option->get_lnames()[0]);
    i += takes_next ? 1 : 0;
  }
  return {};
}

/// Of CLI11's message, which holds the flag's name.
std::string origin_of(std::string_view message, const FlagOrigins& origins) {
  for (size_t begin = message.find("--"); begin != std::string_view::npos; begin = message.find("--", begin + 2)) {
    const std::string_view rest = message.substr(begin);
    const auto origin = origins.find(std::string(rest.substr(0, rest.find_first_of(": =,"))));
    if (origin != origins.end()) return origin->second + ": ";
  }
  return "";
}

/// Other servers' flags become ours.
Result<std::vector<std::string>> own_args(const CLI::App& app, const std::vector<std::string>& args,
                                          ServeOptions& options) {
  auto line = read_launch_line(args, [&](const std::string& flag) {
    const CLI::Option* option = app.get_option_no_throw(flag);
    return option != nullptr && option->get_items_expected_min() > 0;
  });
  if (!line) return line.error();
  options.launch_notice = std::move(line->notice);
  options.model.origins = std::move(line->origins);
  return std::move(line->args);
}

template <typename Options>
Result<std::vector<std::string>> own_args(const CLI::App&, std::vector<std::string> args, Options&) {
  return args;
}

template <typename Options>
std::optional<Options> parse_with(const char* command, int argc, const char* const* argv, int& exit_code) {
  CLI::App app("", std::string("quern ") + command);
  Options options;
  register_options(app, options);
  app.set_config("--config", "", "TOML file with the same names as the flags, without the dashes in front");
  const auto toml = std::make_shared<CheckedToml>(app);
  app.config_formatter(toml);
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.footer(
      "Every flag can be given as an environment variable (shown as Env:) and in the --config file;\nthe command line "
      "wins over the environment, which wins over the file.");
  app.get_formatter()->column_width(44);
  FlagOrigins& origins = options.model.origins;
  std::vector<std::string> args;
  const auto learn_places = [&] {
    for (const auto& [flag, place] : toml->places()) {
      if (!is_given(*app.get_option(flag), args)) origins[flag] = place;
    }
  };
  try {
    auto own = own_args(app, {argv + 1, argv + argc}, options);
    const Result<void> checked = own ? refuse_empty(app, *own) : Result<void>(own.error());
    if (!checked) {
      exit_code = report_error(command, checked.error(), origins);
      return std::nullopt;
    }
    args = with_environment(app, std::move(*own), origins);
    std::vector<std::string> from_back(args.rbegin(), args.rend());  // as CLI11 takes a vector
    app.parse(from_back);
    learn_places();
    return options;
  } catch (const CLI::ExtrasError&) {
    std::fprintf(stderr, "quern %s: %srun `quern %s --help` for the list\n", command, explain_extras(app).c_str(),
                 command);
    exit_code = 2;
  } catch (const CLI::ParseError& error) {
    const bool is_help = error.get_exit_code() == 0;
    if (is_help) {
      app.exit(error);
    } else {
      learn_places();
      std::fprintf(stderr, "quern %s: %s%s\nrun `quern %s --help` for the list\n", command,
                   origin_of(error.what(), origins).c_str(), error.what(), command);
    }
    exit_code = is_help ? 0 : 2;
  }
  return std::nullopt;
}

}  // namespace

template <>
std::optional<ServeOptions> parse_options(int argc, const char* const* argv, int& exit_code) {
  return parse_with<ServeOptions>("serve", argc, argv, exit_code);
}
template <>
std::optional<EmbedOptions> parse_options(int argc, const char* const* argv, int& exit_code) {
  return parse_with<EmbedOptions>("embed", argc, argv, exit_code);
}
template <>
std::optional<TokenizeOptions> parse_options(int argc, const char* const* argv, int& exit_code) {
  return parse_with<TokenizeOptions>("tokenize", argc, argv, exit_code);
}
template <>
std::optional<VerifyOptions> parse_options(int argc, const char* const* argv, int& exit_code) {
  return parse_with<VerifyOptions>("verify", argc, argv, exit_code);
}
template <>
std::optional<BenchOptions> parse_options(int argc, const char* const* argv, int& exit_code) {
  return parse_with<BenchOptions>("bench", argc, argv, exit_code);
}

}  // namespace quern
