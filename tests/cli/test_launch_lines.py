"""The launch lines of docs/launch-lines.md start the server as they stand, but for the port; what is not built is refused by name."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

from quern_server import Server

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/launch-lines.md").read_text()
LAUNCHERS = re.compile(r"^(python3? -m sglang\.launch_server|vllm serve|text-embeddings-router|llama-server) (.*)$", re.M)
LINES = [match.group(0) for match in LAUNCHERS.finditer(PAGE)]


def test_the_page_has_lines_of_all_four_servers():
    assert {line.split()[0].rstrip("3") for line in LINES} == {"python", "vllm", "text-embeddings-router", "llama-server"}


@pytest.fixture(scope="module")
def cache(tiny_model, tmp_path_factory):
    """A Hugging Face cache in which the models of the lines are a tiny one with their context."""
    hub = tmp_path_factory.mktemp("hub")
    for size in ["0.6B", "4B", "8B"]:
        repository = hub / f"models--Qwen--Qwen3-Embedding-{size}"
        snapshot = repository / "snapshots/0123abcd"
        shutil.copytree(tiny_model, snapshot)
        config = json.loads((snapshot / "config.json").read_text())
        (snapshot / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 32768}))
        (repository / "refs").mkdir()
        (repository / "refs/main").write_text("0123abcd")
    return hub


def arguments(line):
    """What stands behind the server's own name, without the port."""
    words = shlex.split(LAUNCHERS.match(line).group(2))
    for flag in ["--port", "-p"]:
        if flag in words:
            del words[words.index(flag):words.index(flag) + 2]
    return words


def refusal(quern, *words):
    done = subprocess.run([quern, "serve", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("quern serve: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("line", LINES)
def test_a_documented_line_starts_the_server(quern, cache, line):
    server = Server([quern, "serve", *arguments(line)], environment={**os.environ, "HF_HUB_CACHE": str(cache)})
    key = re.search(r"--api-key (\S+)", line)
    names = {"qwen3", "qwen3-embedding"} & set(line.split())
    try:
        curl = ["curl", "-sS", server.url + "/v1/models", *(["-H", f"Authorization: Bearer {key.group(1)}"] if key else [])]
        served = [model["id"] for model in json.loads(subprocess.run(curl, capture_output=True, check=True).stdout)["data"]]
    finally:
        assert server.stop() == 0
    assert names <= set(served) and (names or served[0] in line), served
    log = [json.loads(entry) for entry in server.log_text().splitlines()]
    notices = [entry["quern.notice"] for entry in log if entry["message"] == "flags of other servers"]
    assert len(notices) == (0 if line.endswith("vllm serve Qwen/Qwen3-Embedding-0.6B") else 1)
    for flag in ["--is-embedding", "--trust-remote-code", "--gpu-memory-utilization", "--max-concurrent-requests", "--mlock"]:
        assert not notices or (flag in notices[0].partition("without a meaning here: ")[2].split(", ")) == (flag in line.split())


@pytest.mark.parametrize("words, expected", [
    (["--tensor-parallel-size", "2"], '--tensor-parallel-size: "2" is not built here; allowed: 1'),
    (["--tp=4"], '--tp: "4" is not built here; allowed: 1'),
    (["--pooling", "mean"], '--pooling: "mean" is not built here; allowed: last, last-token'),
    (["--pooler-config", '{"pooling_type": "MEAN"}'], '--pooler-config: "pooling_type=MEAN" is not built here'),
    (["--pooler-config", '{"normalize": false}'], '--pooler-config: "normalize=false" is not built here'),
    (["--hf-overrides", '{"rope_theta": 1.0}'], '--hf-overrides: "rope_theta=1.0" is not built here'),
    (["--hf-overrides", "{"], '--hf-overrides: expected a JSON object, found "{"'),
    (["--task", "classify"], '--task: "classify" is not built here; allowed: embed'),
    (["--runner", "generate"], '--runner: "generate" is not built here; allowed: pooling'),
    (["--quantization", "awq"], "--quantization: awq not in {none,fp8}"),
    (["--kv-cache-dtype", "fp8_e5m2"], '--kv-cache-dtype: "fp8_e5m2" is not built here; allowed: auto'),
    (["--device", "cpu", "--quantization", "fp8"], "--quantization: fp8 is computed on a GPU alone"),
    (["--device", "cpu", "--dtype", "f16"], "--dtype: f16 is computed on a GPU alone; on a CPU: auto, f32, bf16"),
    (["--rope-scaling", "yarn"], '--rope-scaling: "yarn" is not built here'),
    (["--embd-normalize", "-1"], '--embd-normalize: "-1" is not built here; allowed: 2'),
    (["--ssl-keyfile", "k.pem"], "--ssl-keyfile: not built here (TLS is not built; put a proxy in front)"),
    (["--lora", "x"], "--lora: not built here"),
    (["--gpu-memory-utilization"], "--gpu-memory-utilization: a value must follow"),
    (["--gpu-memory-utilization", "--port"], "--gpu-memory-utilization: a value must follow"),
    (["--served-model-name=", "--port", "0"], "--served-model-name: is empty"),
    (["--idle-timeout-s=", "--port", "0"], "--idle-timeout-s: is empty"),
    (["--served-model-name", "", "--port", "0"], "--served-model-name: is empty"),
    (["--alias", "", "--port", "0"], "--alias: --served-model-name: is empty"),
    (["--api-key-file", "", "--port", "0"], "--api-key-file: is empty"),
    (["--attention", "non-causal"], '--attention: "non-causal" is not built here; allowed: causal'),
    (["--override-kv", "tokenizer.ggml.add_eos_token=bool:false"], "--override-kv: not built here"),
    (["--dp", "2"], '--dp: "2" is not built here; allowed: 1'),
    (["--device-id", "1"], '--device-id: "1" is not built here; allowed: 0'),
    (["-c", "99999999"], "-c: --context-length: Value 99999999 not in range 0 to 1048576"),
    (["--max-num-seqs=1"], "--max-num-seqs: --max-batch-inputs: Value 1 not in range 2 to 65536"),
    (["-c", "4096"], "-c: --context-length: is 4096; the model allows at most 2048 (max_position_embeddings)"),
    (["Qwen/A", "Qwen/B"], '"Qwen/B" belongs to no flag'),
    (["-m", "Qwen3-Embedding-0.6B-Q8_0.gguf"], "-m: --model-path: Qwen3-Embedding-0.6B-Q8_0.gguf: GGUF files are not read"),
    (["-hf", "Qwen/Qwen3-Embedding-0.6B-GGUF:Q8_0"], "-hf: --model-path: Qwen/Qwen3-Embedding-0.6B-GGUF:Q8_0: GGUF files are not read"),
])
def test_what_is_not_built_is_refused_by_name(quern, words, expected):
    assert refusal(quern, *words).startswith("quern serve: " + expected)


@pytest.mark.parametrize("flag", ["--hf-token", "--hf-api-token", "-hft"])
def test_a_token_is_no_model(quern, flag):
    said = refusal(quern, flag, "hf_secret", "--model-path", "/nowhere")
    assert "--model-path: /nowhere" in said and "hf_secret" not in said


def test_every_flag_that_another_becomes_exists(quern):
    table = subprocess.run([quern, "help", "launch-lines"], capture_output=True, text=True, check=True).stdout
    text = subprocess.run([quern, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--[a-z0-9-]+", text))
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    assert len(rows) > 80
    becomes = {match.group(1) for row in rows if (match := re.match(r"`(--[a-z0-9-]+)`", row[2]))}
    assert "--max-batch-tokens" in becomes and becomes <= known, becomes - known
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    assert len(names) == len(set(names)), "a flag in two rows"
    # One of our own flags is not another server's with another meaning.
    shadowed = {name for row in rows for name in re.findall(r"`(--[^`]+)`", row[0]) if name in known and not re.match("`--", row[2])}
    assert not shadowed, shadowed


def test_auto_truncate_cuts_where_a_request_does_not_say(start):
    long = "word " * 20000
    server = start("--auto-truncate")
    assert server.post("/v1/embeddings", {"input": long})["usage"]["prompt_tokens"] > 100
    with pytest.raises(Exception, match="400"):
        server.post("/v1/embeddings", {"input": long, "truncate": False})
    with pytest.raises(Exception, match="400"):
        start().post("/v1/embeddings", {"input": long})
