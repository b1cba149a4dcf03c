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
     "pooling_type=last seq_pooling_type=last normalize=true use_activation=true task=embed softmax=false",
     kCausalLast},
    {"--attention", kL, kValue, kNoMeaning, "", "causal",
     "Qwen3-Embedding attends causally; else it would give other vectors"},
    {"--override-kv --control-vector --control-vector-scaled", kL, kValue, kRefused, "", "", kByFolder},
    {"--yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast --grp-attn-n -gan --grp-attn-w -gaw", kL,
     kValue, kRefused, "", "", kByFolder},
    {"--embd-normalize", kL, kValue, kNoMeaning, "", "2", "vectors have length 1"},
    {"--hf-overrides", kV, kJson, kNoMeaning, "", "is_matryoshka matryoshka_dimensions", kMatryoshka},
    {"--json-model-override-args", kS, kJson, kNoMeaning, "", "is_matryoshka matryoshka_dimensions", kMatryoshka},
    {"--trust-remote-code", kSv, kNothing, kNoMeaning, "", "", "no code of a model is run"},
    {"--tokenizer --tokenizer-path", kSv, kValue, kRefused, "", "", "the tokenizer is the model folder's"},
    {"--tokenizer-mode", kSv, kValue, kNoMeaning, "", "auto fast", "the tokenizer is the model folder's"},
    {"--skip-tokenizer-init", kSv, kNothing, kRefused, "", "", "texts are taken as well as token ids, always"},
    {"--chat-template --chat-template-file --hf-chat-template-name --chat-template-content-format", kAll, kValue,
     kNoMeaning, "", "", kGenerates},
    {"--tokenizer-revision --code-revision", kV, kValue, kRefused, "", "",
     "give --revision, which is the whole folder's"},
    {"--load-format", kSv, kValue, kNoMeaning, "", "auto safetensors", "weights are read from safetensors"},
    {"--config-format --model-impl", kSv, kValue, kNoMeaning, "", "auto hf",
     "the model is Qwen3, in Hugging Face's format"},
    {"--download-dir --huggingface-hub-cache", "SGLang, vLLM, TEI", kValue, kRefused, "", "",
     "set the environment variable HF_HUB_CACHE to that folder"},
    {"--offline", kL, kNothing, kNoMeaning, "", "", kNoDownload},
    {"--docker-repo -dr", kL, kValue, kRefused, "", "", kGguf},
    {"--hf-config-path --model-loader-extra-config", kSv, kValue, kRefused, "", "", kByFolder},
    {"--hf-token --hf-api-token -hft", "vLLM, TEI, llama-server", kValue, kNoMeaning, "", "", kNoDownload},
    {"--rope-scaling", kL, kValue, kNoMeaning, "", "none", kByFolder},
    {"--rope-freq-base --rope-freq-scale --rope-scale --yarn-orig-ctx", kL, kValue, kRefused, "", "", kByFolder},
    {"--default-prompt-name --default-prompt", kT, kValue, kRefused, "", "",
     "write default_prompt_name into config_sentence_transformers.json, or send prompt_name with the request"},
    {"--dense-path", kT, kValue, kRefused, "", "", kByFolder},
    {"--enable-lora --lora-modules --lora-paths --lora --lora-scaled --lora-adapter", "SGLang, vLLM, llama-server",
     kMaybe, kRefused, "", "", kLora},
    {"--mmproj", kL, kValue, kRefused, "", "", "texts are embedded, not pictures"},
    {"--skip-server-warmup", kS, kNothing, kNoMeaning, "", "",
     "the check of known answers is the warm-up; --skip-check leaves it out"},
    {"--warmups", kS, kValue, kNoMeaning, "", "",
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
    {"--enable-dp-attention --enable-expert-parallel --headless", kSv, kNothing, kRefused, "", "", kOneProcess},
    {"--device-id --base-gpu-id", "SGLang, TEI", kValue, kNoMeaning, "", "0", "--device cuda:N names the GPU"},
    {"--dist-init-addr --nccl-port --dist-timeout", kS, kValue, kNoMeaning, "", "", kOneProcess},
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
    {"--tokenizer-worker-num", kS, kValue, kNoMeaning, "", "", "texts are cut on the threads that read them"},
    {"--tokenization-workers", kT, kValue, kNoMeaning, "", "", "texts are cut on the threads that read them"},
    {"--gpu-memory-utilization", kV, kValue, kNoMeaning, "", "", kMemory},
    {"--mem-fraction-static", kS, kValue, kNoMeaning, "", "", kMemory},
    {"--swap-space --cpu-offload-gb --block-size --page-size --num-gpu-blocks-override --kv-cache-memory-bytes "
     "--cuda-graph-bs --max-cudagraph-capture-size --max-num-partial-prefills --prefill-max-requests",
     kSv, kValue, kNoMeaning, "", "", kMemory},
    {"--fit -fit --load-mode -lm", kL, kValue, kNoMeaning, "", "", kMemory},
    {"--cache-ram -cram --cache-reuse --defrag-thold -dt --fit-target -fitt --fit-ctx -fitc", kL, kValue, kNoMeaning,
     "", "", kMemory},
    {"--kv-offload -kvo --no-kv-offload -nkvo --kv-unified -kvu --no-kv-unified -no-kvu --swa-full --check-tensors "
     "--no-host --repack --no-repack -nr --op-offload --no-op-offload",
     kL, kNothing, kNoMeaning, "", "", kMemory},
    {"--mlock --no-mmap --mmap", kL, kNothing, kNoMeaning, "", "", kMemory},
    {"--gpu-layers --n-gpu-layers -ngl --main-gpu -mg --split-mode -sm --tensor-split -ts --override-tensor -ot --rpc",
     kL, kValue, kNoMeaning, "", "", kCuda},
    {"-dev", kL, kValue, kNoMeaning, "", "", "--device cuda:N names the GPU"},
    {"--prio --prio-batch --poll --poll-batch --cpu-mask -C --cpu-range -Cr --cpu-strict", kL, kValue, kNoMeaning, "",
     "", "start it under taskset or nice"},
    {"--numa", kL, kValue, kNoMeaning, "", "", "start it under numactl"},
    {"--flash-attn -fa", kL, kMaybe, kNoMeaning, "", "", kCuda},
    {"--attention-backend --sampling-backend --cuda-graph-max-bs --torch-compile-max-bs --compilation-config -O "
     "-cc --prefill-attention-backend --decode-attention-backend",
     kSv, kValue, kNoMeaning, "", "", kCuda},
    {"--enable-torch-compile --disable-cuda-graph --enforce-eager --enable-p2p-check --disable-custom-all-reduce "
     "--enable-deterministic-inference --disable-cuda-graph-padding",
     kSv, kNothing, kNoMeaning, "", "", kCuda},
    {"--disable-radix-cache --enable-mixed-chunk --disable-overlap-schedule --enable-chunked-prefill "
     "--no-enable-chunked-prefill "
     "--enable-prefix-caching --no-enable-prefix-caching --async-scheduling --no-async-scheduling "
     "--disable-sliding-window "
     "--disable-frontend-multiprocessing --enable-cache-report --enable-priority-scheduling "
     "--enable-prompt-tokens-details",
     kSv, kNothing, kNoMeaning, "", "", kSchedule},
    {"--cont-batching -cb --no-cont-batching -nocb --slots --no-slots --props --no-webui --webui --jinja --no-jinja "
     "--context-shift --no-context-shift --no-mmproj --escape -e --no-escape --perf --no-perf --verbose-prompt",
     kL, kNothing, kNoMeaning, "", "", kSchedule},
    {"--schedule-policy --schedule-conservativeness --scheduling-policy --stream-interval "
     "--distributed-executor-backend --load-balance-method",
     kSv, kValue, kNoMeaning, "", "", kSchedule},
    {"--random-seed --seed -s", "SGLang, vLLM, llama-server", kValue, kNoMeaning, "", "", "nothing is drawn at random"},
    {"--temp --temperature --top-k --top-p --min-p --repeat-penalty --n-predict --predict -n --keep", kL, kValue,
     kNoMeaning, "", "", kGenerates},
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
    {"--log-file --log-verbosity --verbosity -lv", kL, kValue, kNoMeaning, "", "", kLogging},
    {"--log-colors", kL, kMaybe, kNoMeaning, "", "", kLogging},
    {"--log-prefix --no-log-prefix --log-timestamps --no-log-timestamps --log-jsonl --no-log-jsonl", kL, kNothing,
     kNoMeaning, "", "", kLogging},
    {"--verbose -v --log-verbose --log-disable", kL, kNothing, kNoMeaning, "", "", kLogging},
    {"--max-log-len --watchdog-timeout --log-requests-level", kSv, kValue, kNoMeaning, "", "", kLogging},
    {"--json-output --disable-spans", kT, kNothing, kNoMeaning, "", "", kLogging},
    {"--otlp-endpoint --otlp-traces-endpoint", "vLLM, TEI", kValue, kRefused, "", "",
     "traces are not built; GET /metrics has the times"},
    {"--otlp-service-name", kT, kValue, kNoMeaning, "", "", "traces are not built"},
    {"--enable-metrics --metrics", "SGLang, llama-server", kNothing, kNoMeaning, "", "", kAlwaysOn},
    {"--prometheus-port", kT, kValue, kNoMeaning, "", "", "GET /metrics is on --port"},
});

/// "`a`, `b`"
std::string code_words(std::string_view words) {
  std::string out;
  for (const std::string_view word : split_words(words)) out += (out.empty() ? "`" : ", `") + std::string(word) + "`";
  return out;
}

std::string fate_text(const LaunchFlag& flag) {
  if (flag.fate == kRefused) return "refused";
  const std::string values = code_words(flag.values);
  if (flag.fate == kNoMeaning) return "accepted, no meaning here" + (values.empty() ? "" : "; only " + values);
  return code_words(flag.ours) + (values.empty() ? "" : " (" + values + ")");
}

}  // namespace

std::vector<std::string_view> split_words(std::string_view words) {
  std::vector<std::string_view> out;
  for (size_t begin = 0; begin < words.size();) {
    const size_t end = std::min(words.find(' ', begin), words.size());
    out.push_back(words.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

const LaunchFlag* find_launch_flag(std::string_view name) {
  const auto found = std::find_if(kFlags.begin(), kFlags.end(), [&](const LaunchFlag& flag) {
    const auto names = split_words(flag.names);
    return std::find(names.begin(), names.end(), name) != names.end();
  });
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
