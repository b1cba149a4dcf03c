#include "cli/launch_flags.h"

#include <algorithm>
#include <array>

namespace quern {
namespace {

using enum Takes;
using enum Fate;

constexpr std::string_view kS = "SGLang", kV = "vLLM", kT = "TEI", kL = "llama-server", kSv = "SGLang, vLLM";
constexpr std::string_view kAll = "all", kStl = "SGLang, TEI, llama-server", kVl = "vLLM, llama-server";

constexpr std::string_view kOneProcess = "one process computes on one device; start several behind a load balancer";
constexpr std::string_view kByFolder = "the model folder says it, and another value would give other vectors";
constexpr std::string_view kEmbedsOnly = "Quern embeds, and nothing else";
constexpr std::string_view kCausalLast =
    "Qwen3-Embedding pools the last token; another pooling would give other vectors";
constexpr std::string_view kDtypes = "K/V are of the type that --dtype says";
constexpr std::string_view kMemory = "memory is planned from the flags and compared with what there is";
constexpr std::string_view kSchedule = "the scheduler needs no such choice";
constexpr std::string_view kGenerates = "belongs to text generation";
constexpr std::string_view kTls = "TLS is not built; put a proxy in front";
constexpr std::string_view kGguf = "GGUF files are not read; name the folder or ORG/NAME of the safetensors";
constexpr std::string_view kCuda = "kernels are chosen by the machine";
constexpr std::string_view kNoDownload = "nothing is downloaded";
constexpr std::string_view kLogging = "the log has one line for each request, and --log-level";
constexpr std::string_view kAlwaysOn = "always on";
constexpr std::string_view kLora = "adapters are not built; merge them into the model";
constexpr std::string_view kMatryoshka =
    "of the overrides only is_matryoshka and matryoshka_dimensions change no vector; write others into config.json";

constexpr auto kFlags = std::to_array<LaunchFlag>({
    // The model.
    {"--model-path --model-id --model -m -hf -hfr --hf-repo", kAll, kValue, kBecomes, "--model-path", "", ""},
    {"--hf-file -hff --model-url -mu", kL, kValue, kRefused, "", "", kGguf},
    {"--served-model-name", kSv, kValues, kBecomes, "--served-model-name", "", ""},
    {"--alias -a", kL, kValue, kBecomes, "--served-model-name", "", ""},
    {"--revision", "SGLang, vLLM, TEI", kValue, kBecomes, "--revision", "", ""},
    {"--is-embedding", kS, kNothing, kNoMeaning, "", "", kEmbedsOnly},
    {"--embedding --embeddings", kL, kNothing, kNoMeaning, "", "", kEmbedsOnly},
    {"--task", kV, kValue, kNoMeaning, "", "embed embedding auto", kEmbedsOnly},
    {"--runner", kV, kValue, kNoMeaning, "", "pooling auto", kEmbedsOnly},
    {"--convert", kV, kValue, kNoMeaning, "", "embed auto none", kEmbedsOnly},
    {"--reranking --rerank", kL, kNothing, kRefused, "", "", kEmbedsOnly},
    {"--pooling", "TEI, llama-server", kValue, kNoMeaning, "", "last last-token lasttoken", kCausalLast},
    {"--pooler-config --override-pooler-config", kV, kJson, kNoMeaning, "",
     "pooling_type=last seq_pooling_type=last normalize=true use_activation=true", kCausalLast},
    {"--embd-normalize", kL, kValue, kNoMeaning, "", "2", "vectors have length 1"},
    {"--hf-overrides", kV, kJson, kNoMeaning, "", "is_matryoshka matryoshka_dimensions", kMatryoshka},
    {"--json-model-override-args", kS, kJson, kNoMeaning, "", "is_matryoshka matryoshka_dimensions", kMatryoshka},
    {"--trust-remote-code", kSv, kNothing, kNoMeaning, "", "", "no code of a model is run"},
    {"--tokenizer --tokenizer-path", kSv, kValue, kRefused, "", "", "the tokenizer is the model folder's"},
    {"--tokenizer-mode", kSv, kValue, kNoMeaning, "", "auto fast", "the tokenizer is the model folder's"},
    {"--skip-tokenizer-init", kSv, kNothing, kRefused, "", "", "texts are taken as well as token ids, always"},
    {"--chat-template", kAll, kValue, kNoMeaning, "", "", kGenerates},
    {"--tokenizer-revision --code-revision", kV, kValue, kRefused, "", "",
     "give --revision, which is the whole folder's"},
    {"--load-format", kSv, kValue, kNoMeaning, "", "auto safetensors", "weights are read from safetensors"},
    {"--config-format --model-impl", kSv, kValue, kNoMeaning, "", "auto hf",
     "the model is Qwen3, in Hugging Face's format"},
    {"--download-dir --huggingface-hub-cache", "SGLang, vLLM, TEI", kValue, kRefused, "", "",
     "set the environment variable HF_HUB_CACHE to that folder"},
    {"--hf-token --hf-api-token -hft", "vLLM, TEI, llama-server", kValue, kNoMeaning, "", "", kNoDownload},
    {"--rope-scaling", kL, kValue, kNoMeaning, "", "none", kByFolder},
    {"--rope-freq-base --rope-freq-scale --rope-scale --yarn-orig-ctx", kL, kValue, kRefused, "", "", kByFolder},
    {"--default-prompt-name --default-prompt", kT, kValue, kRefused, "", "",
     "write default_prompt_name into config_sentence_transformers.json, or send prompt_name with the request"},
    {"--dense-path", kT, kValue, kRefused, "", "", kByFolder},
    {"--enable-lora --lora-modules --lora-paths --lora --lora-adapter", "SGLang, vLLM, llama-server", kMaybe, kRefused,
     "", "", kLora},
    {"--mmproj", kL, kValue, kRefused, "", "", "texts are embedded, not pictures"},
    {"--skip-server-warmup", kS, kNothing, kNoMeaning, "", "",
     "the check of known answers is the warm-up; --skip-check leaves it out"},
    {"--warmup --no-warmup", kL, kNothing, kNoMeaning, "", "",
     "the check of known answers is the warm-up; --skip-check leaves it out"},
    // How it is computed.
    {"--dtype", "SGLang, vLLM, TEI", kValue, kBecomes, "--dtype", "float=f32", ""},
    {"--quantization -q", kSv, kValue, kBecomes, "--quantization", "auto=none null=none w8a8_fp8=fp8", ""},
    {"--kv-cache-dtype -ctk --cache-type-k -ctv --cache-type-v", "SGLang, vLLM, llama-server", kValue, kNoMeaning, "",
     "auto none null", kDtypes},
    {"--tensor-parallel-size --tp-size --tp -tp", kSv, kValue, kNoMeaning, "", "1", kOneProcess},
    {"--pipeline-parallel-size --pp-size -pp --data-parallel-size --dp-size --dp -dp --nnodes", kSv, kValue, kNoMeaning,
     "", "1", kOneProcess},
    {"--node-rank", kSv, kValue, kNoMeaning, "", "0", kOneProcess},
    {"--api-server-count", kV, kValue, kNoMeaning, "", "1",
     "--http-threads is how many threads read and write sockets"},
    {"--context-length --max-model-len", kSv, kCount, kBecomes, "--context-length", "auto=0 -1=0", ""},
    {"--ctx-size -c", kL, kCount, kBecomes, "--context-length", "", ""},
    {"--max-batch-tokens", kT, kCount, kBecomes, "--max-batch-tokens", "", ""},
    {"--chunked-prefill-size", kS, kCount, kBecomes, "--max-batch-tokens", "-1=", ""},
    {"--max-num-batched-tokens", kV, kCount, kBecomes, "--max-batch-tokens", "", ""},
    {"--ubatch-size -ub", kL, kCount, kBecomes, "--max-batch-tokens", "", ""},
    {"--batch-size -b", kL, kValue, kNoMeaning, "", "", "longer inputs are fed in chunks of --max-batch-tokens"},
    {"--max-prefill-tokens --max-total-tokens", kS, kValue, kNoMeaning, "", "", kMemory},
    {"--max-num-seqs", kV, kValue, kBecomes, "--max-batch-inputs", "", ""},
    {"--max-running-requests", kS, kValue, kBecomes, "--max-batch-inputs", "", ""},
    {"--max-batch-requests", kT, kValue, kBecomes, "--max-batch-inputs", "", ""},
    {"--parallel -np", kL, kValue, kNoMeaning, "", "", "inputs share the steps, up to --max-batch-inputs"},
    {"--threads", kL, kValue, kBecomes, "--threads", "", ""},
    {"-t", kL, kValue, kBecomes, "--threads", "-1=0", ""},
    {"--threads-batch -tb", kL, kValue, kNoMeaning, "", "", "--threads is for everything"},
    {"--tokenization-workers", kT, kValue, kNoMeaning, "", "", "texts are cut on the threads that read them"},
    {"--gpu-memory-utilization", kV, kValue, kNoMeaning, "", "", kMemory},
    {"--mem-fraction-static", kS, kValue, kNoMeaning, "", "", kMemory},
    {"--swap-space --cpu-offload-gb --block-size --page-size", kSv, kValue, kNoMeaning, "", "", kMemory},
    {"--mlock --no-mmap --mmap", kL, kNothing, kNoMeaning, "", "", kMemory},
    {"--gpu-layers --n-gpu-layers -ngl --main-gpu -mg --split-mode -sm --tensor-split -ts", kL, kValue, kNoMeaning, "",
     "", kCuda},
    {"--numa", kL, kValue, kNoMeaning, "", "", "start it under numactl"},
    {"--flash-attn -fa", kL, kMaybe, kNoMeaning, "", "", kCuda},
    {"--attention-backend --sampling-backend --cuda-graph-max-bs --torch-compile-max-bs --compilation-config -O", kSv,
     kValue, kNoMeaning, "", "", kCuda},
    {"--enable-torch-compile --disable-cuda-graph --enforce-eager --enable-p2p-check --disable-custom-all-reduce", kSv,
     kNothing, kNoMeaning, "", "", kCuda},
    {"--disable-radix-cache --enable-mixed-chunk --disable-overlap-schedule --enable-chunked-prefill "
     "--no-enable-chunked-prefill "
     "--enable-prefix-caching --no-enable-prefix-caching --async-scheduling --disable-sliding-window",
     kSv, kNothing, kNoMeaning, "", "", kSchedule},
    {"--cont-batching -cb --no-cont-batching -nocb --slots --no-slots --props --no-webui --jinja", kL, kNothing,
     kNoMeaning, "", "", kSchedule},
    {"--schedule-policy --schedule-conservativeness --scheduling-policy --stream-interval "
     "--distributed-executor-backend",
     kSv, kValue, kNoMeaning, "", "", kSchedule},
    {"--random-seed --seed -s", "SGLang, vLLM, llama-server", kValue, kNoMeaning, "", "", "nothing is drawn at random"},
    {"--reasoning-parser --tool-call-parser --generation-config", kSv, kValue, kNoMeaning, "", "", kGenerates},
    // Serving.
    {"--host --hostname", kAll, kValue, kBecomes, "--host", "", ""},
    {"--port -p", kAll, kValue, kBecomes, "--port", "", ""},
    {"--uds --uds-path --fastapi-root-path --root-path --api-prefix", kAll, kValue, kRefused, "", "",
     "it listens on --host and --port, with its paths as they are; put a proxy in front"},
    {"--api-key", kAll, kValues, kBecomes, "--api-key", "", ""},
    {"--api-key-file", kL, kValue, kBecomes, "--api-key-file", "", ""},
    {"--admin-api-key", kS, kValue, kRefused, "", "", "there are no routes for administrators"},
    {"--cors-allow-origin", kT, kValues, kBecomes, "--cors-origin", "", ""},
    {"--allowed-origins --allowed-methods --allowed-headers", kV, kValue, kRefused, "", "",
     "give --cors-origin, once for each origin"},
    {"--ssl-certfile --ssl-keyfile --ssl-ca-certs --ssl-cert-file --ssl-key-file", kVl, kValue, kRefused, "", "", kTls},
    {"--max-client-batch-size", kT, kValue, kBecomes, "--max-client-batch-size", "", ""},
    {"--max-concurrent-requests", kT, kValue, kNoMeaning, "", "",
     "what waits is bounded in tokens and inputs: --max-queue-tokens, --max-queue-jobs"},
    {"--max-queued-requests", kS, kValue, kBecomes, "--max-queue-jobs", "", ""},
    {"--payload-limit", kT, kCount, kBecomes, "--max-body-bytes", "", ""},
    {"--auto-truncate --allow-auto-truncate", "SGLang, TEI", kMaybe, kBecomes, "--auto-truncate", "", ""},
    {"--timeout -to", kL, kValue, kBecomes, "--read-timeout-s", "", ""},
    {"--threads-http", kL, kValue, kBecomes, "--http-threads", "-1=1", ""},
    {"--log-level --uvicorn-log-level --log-level-http", kSv, kValue, kBecomes, "--log-level",
     "trace=debug warning=warn critical=error", ""},
    {"--log-requests --show-time-cost --disable-log-requests --enable-log-requests --no-enable-log-requests "
     "--disable-log-stats "
     "--disable-uvicorn-access-log",
     kSv, kNothing, kNoMeaning, "", "", kLogging},
    {"--verbose -v --log-verbose --log-disable", kL, kNothing, kNoMeaning, "", "", kLogging},
    {"--max-log-len --watchdog-timeout --log-requests-level", kSv, kValue, kNoMeaning, "", "", kLogging},
    {"--json-output --disable-spans", kT, kNothing, kNoMeaning, "", "", kLogging},
    {"--otlp-endpoint --otlp-traces-endpoint", "vLLM, TEI", kValue, kRefused, "", "",
     "traces are not built; GET /metrics has the times"},
    {"--otlp-service-name", kT, kValue, kNoMeaning, "", "", "traces are not built"},
    {"--enable-metrics --metrics", "SGLang, llama-server", kNothing, kNoMeaning, "", "", kAlwaysOn},
    {"--prometheus-port", kT, kValue, kNoMeaning, "", "", "GET /metrics is on --port"},
});

bool has_word(std::string_view words, std::string_view word) {
  for (size_t begin = 0; begin < words.size();) {
    const size_t end = std::min(words.find(' ', begin), words.size());
    if (words.substr(begin, end - begin) == word) return true;
    begin = end + 1;
  }
  return false;
}

std::string code_words(std::string_view words) {
  std::string out = words.empty() ? "" : "`";
  for (char c : words) {
    if (c == ' ') {
      out += "`, `";
    } else {
      out += c;
    }
  }
  return out + (words.empty() ? "" : "`");
}

std::string fate_text(const LaunchFlag& flag) {
  if (flag.fate == kRefused) return "refused";
  const std::string values = code_words(flag.values);
  if (flag.fate == kNoMeaning) return "accepted, no meaning here" + (values.empty() ? "" : "; only " + values);
  return code_words(flag.ours) + (values.empty() ? "" : " (" + values + ")");
}

}  // namespace

const LaunchFlag* find_launch_flag(std::string_view name) {
  const auto found =
      std::find_if(kFlags.begin(), kFlags.end(), [&](const LaunchFlag& flag) { return has_word(flag.names, name); });
  return found == kFlags.end() ? nullptr : &*found;
}

std::string launch_flags_table() {
  std::string out = "| flag | of | here | why |\n|---|---|---|---|\n";
  for (const LaunchFlag& flag : kFlags) {
    out += "| " + code_words(flag.names) + " | " + std::string(flag.servers) + " | " + fate_text(flag) + " | " +
           std::string(flag.why) + " |\n";
  }
  return out;
}

}  // namespace quern
