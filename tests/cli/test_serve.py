"""`quern serve` as a process: start, readiness, wrong models. How it ends is in test_stop.py."""
import gzip
import json
import os
import pathlib
import pty
import random
import re
import shutil
import subprocess
import time
import urllib.request

import pytest
from quern_server import RequestRefused


def embed(server, text):
    return server.post("/v1/embeddings", {"input": text})


def test_every_log_line_is_ecs_json(start):
    server = start()
    embed(server, "hello")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log_text().splitlines()]
    assert all({"@timestamp", "log.level", "message", "ecs.version"} <= set(line) for line in lines)
    requests = [line for line in lines if line.get("url.path") == "/v1/embeddings"]
    assert len(requests) == 1 and requests[0]["http.response.status_code"] == 200
    assert requests[0]["http.request.id"] and requests[0]["event.duration"] > 0


def copy_model(tiny_model, folder):
    target = folder / "model"
    shutil.copytree(tiny_model, target)
    return target


@pytest.mark.parametrize("damage,expected", [
    (lambda m: (m / "config.json").unlink(), "config.json"),
    (lambda m: (m / "tokenizer.json").write_text("{"), "tokenizer.json"),
    (lambda m: (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:-100]), "model.safetensors"),
    (lambda m: patch_config(m, hidden_size=96), "hidden_size"),
    (lambda m: patch_config(m, rope_scaling={"type": "yarn", "factor": 4.0}), "rope_scaling"),
    (lambda m: patch_config(m, use_sliding_window=True, sliding_window=128, max_window_layers=0), "sliding_window"),
])
def test_a_damaged_model_is_one_clear_line_and_exit_code_2(quern, tiny_model, tmp_path, damage, expected):
    model = copy_model(tiny_model, tmp_path)
    damage(model)
    done = subprocess.run([quern, "serve", "--model-path", model, "--port", "0"], capture_output=True, text=True, timeout=60)
    errors = [line for line in done.stderr.splitlines() if line.startswith("quern serve:")]
    assert done.returncode == 2, done.stderr
    assert len(errors) == 1 and (expected in errors[0] or "tensor" in errors[0]), done.stderr


def patch_config(model, **fields):
    path = pathlib.Path(model) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_wrong_known_answer_keeps_the_server_from_starting(quern, tiny_model, tmp_path):
    model = copy_model(tiny_model, tmp_path)
    width = json.loads((model / "config.json").read_text())["hidden_size"]
    (model / "known_answers.json").write_text(json.dumps({"texts": [{"text": "hello", "prompt_name": None, "vector": [1.0] + [0.0] * (width - 1)}]}))
    done = subprocess.run([quern, "serve", "--model-path", model, "--port", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "known-answer check" in done.stderr, done.stderr
    verify = subprocess.run([quern, "verify", "--model-path", model], capture_output=True, text=True, timeout=60)
    assert verify.returncode == 1 and "hello" in verify.stdout + verify.stderr


def test_unknown_command_and_flag_suggest_the_nearest(quern):
    done = subprocess.run([quern, "sreve"], capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean serve?" in done.stderr
    done = subprocess.run([quern, "serve", "--max-batch-token=5"], capture_output=True, text=True)
    assert done.returncode == 2 and "--max-batch-tokens" in done.stderr


def test_port_in_use_is_said(quern, tiny_model, start):
    server = start()
    port = str(server.port)
    done = subprocess.run([quern, "serve", "--model-path", tiny_model, "--port", port], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and port in done.stderr, done.stderr
    assert server.stop() == 0


def test_limits_that_contradict_each_other_are_refused_and_those_named_are_enough(quern, tiny_model, start):
    body_bytes_max = 528900  # just more than a room that doubles has
    def refused(buffered_bytes):
        done = subprocess.run([quern, "serve", "--model-path", tiny_model, "--port", "0", "--max-body-bytes", str(body_bytes_max),
                               "--max-buffered-bytes", str(buffered_bytes)], capture_output=True, text=True, timeout=60)
        said = f"--max-buffered-bytes: is {buffered_bytes}; a body of --max-body-bytes, {body_bytes_max}, needs at least "
        assert done.returncode == 2 and said in done.stderr, done.stderr
        return int(re.search(said + r"(\d+)", done.stderr).group(1))
    least = refused(1999)
    assert refused(least - 1) == least
    server = start("--max-body-bytes", str(body_bytes_max), "--max-buffered-bytes", str(least))
    text = json.dumps({"input": "", "truncate": True})
    text = text.replace('""', '"' + random.Random(3).randbytes(body_bytes_max).hex()[:body_bytes_max - len(text) - 100] + '"')
    coded = gzip.compress(text.encode(), 0)
    assert body_bytes_max - 100 < len(coded) <= body_bytes_max
    request = urllib.request.Request(server.url + "/v1/embeddings", coded, {"Content-Type": "application/json", "Content-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert len(json.load(answer)["data"]) == 1


@pytest.mark.parametrize("flag, value", [
    ("--max-body-bytes", "-1"), ("--max-body-bytes", "0"), ("--max-body-bytes", "9000000000000000000"), ("--max-header-bytes", "0"),
    ("--max-header-bytes", "-1"), ("--max-buffered-bytes", "9223372036854775807"), ("--max-buffered-bytes", "-1"), ("--max-queue-tokens", "-1"),
    ("--max-queue-jobs", "0"), ("--request-timeout-ms", "-5"), ("--idle-timeout-s", "0"), ("--read-timeout-s", "0"),
    ("--drain-timeout-s", "-1"), ("--drain-grace-s", "-1"), ("--threads", "-1"), ("--max-connections", "0"), ("--max-client-batch-size", "0"),
])
def test_a_limit_out_of_range_is_refused_by_name(quern, tiny_model, flag, value):
    done = subprocess.run([quern, "serve", "--model-path", tiny_model, "--port", "0", f"{flag}={value}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and flag in done.stderr and "range" in done.stderr, done.stderr


def test_a_port_file_that_cannot_be_written_is_said(quern, tiny_model, tmp_path):
    (tmp_path / "port.tmp").mkdir()
    done = subprocess.run([quern, "serve", "--model-path", tiny_model, "--port", "0", "--port-file", tmp_path / "port"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--port-file: cannot write" in done.stderr and not (tmp_path / "port").exists(), done.stderr


def test_metrics_show_the_limits_that_flags_set(start):
    flags = {"--max-batch-tokens": ("batch_tokens_max", 512), "--max-batch-inputs": ("batch_spans_max", 17), "--max-connections": ("connections_max", 23),
             "--context-length": ("context_tokens_max", 384), "--max-body-bytes": ("body_bytes_max", 54321), "--max-header-bytes": ("header_bytes_max", 9999),
             "--max-client-batch-size": ("inputs_max", 33), "--max-queue-tokens": ("queue_tokens_max", 77777), "--max-queue-jobs": ("queue_jobs_max", 444),
             "--request-timeout-ms": ("timeout_ms_default", 5432), "--max-buffered-bytes": ("buffered_bytes_max", 7654321)}
    server = start(*(word for flag, (_, value) in flags.items() for word in (flag, str(value))))
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as answer:
        shown = dict(re.findall(r'^quern_limit{field="(\w+)"} (\S+)$', answer.read().decode(), re.M))
    assert {field: float(shown[field]) for field, _ in flags.values()} == {field: value for field, value in flags.values()}


def test_the_memory_for_requests_follows_the_longest_body(start):
    server = start("--max-body-bytes", "1000000000")
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert float(re.search(r'^quern_limit{field="buffered_bytes_max"} (\S+)$', metrics, re.M).group(1)) >= 2.2e9


@pytest.mark.parametrize("line, expected", [("key-one-23 alice 5 # a note", 0), ("key-one-23 # my note", 0), ("key-one-23 alice 5 six", 2), ("key-one-23 alice x", 2)])
def test_a_key_file_says_what_it_does_not_take(quern, tiny_model, tmp_path, line, expected):
    keys, port_file = tmp_path / "keys", tmp_path / "port"
    keys.write_text(line + "\n")
    process = subprocess.Popen([quern, "serve", "--model-path", tiny_model, "--port", "0", "--port-file", port_file, "--api-key-file", keys],
                               stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not port_file.exists():
        time.sleep(0.005)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == expected, errors
    assert expected == 0 or errors.count(f"{keys}:1") == 1, errors


@pytest.mark.parametrize("text, expected", [
    ("# a comment\nprot = 80\n", 'q.toml:2: unknown key "prot"; did you mean port?'),
    ("port = 80\npor = 1\n", 'q.toml:2: unknown key "por"; did you mean port?'),
    ("# a\n[server]\nport = 80\n", 'q.toml:2: unknown section "server"; keys stand outside of sections'),
    ("port = 70000\n", "q.toml:1: --port: Value 70000 not in range"),
    ("\r\n# port\r\nport = 70000\r\n", "q.toml:3: --port: Value 70000 not in range"),
    ("\ufeffport = 70000\n", "q.toml:1: --port: Value 70000 not in range"),
    ('log-level = "loud"\n', "q.toml:1: --log-level: loud not in {"),
    ('\nskip-check = "maybe"\n', "q.toml:2: --skip-check: maybe not in {"),
    ("threads = [1, 2]\n", "q.toml:1: --threads: At Most 1 required but received 2"),
    ('\n"max-model-len" = 5000000\n', "q.toml:2: --context-length: Value 5000000 not in range"),
    # What is found wrong after the command line has been read.
    ('api-key = ["long-enough", "short"]\n', "q.toml:1: --api-key: an API key has at least 8 characters"),
    ('\ncors-origin = "a b"\n', 'q.toml:2: --cors-origin: "a b" is no origin'),
    ('device = "tpu"\n', 'q.toml:1: --device: is "tpu"'),
    ("\ncontext-length = 999999\n", "q.toml:2: --context-length: is 999999; the model allows at most"),
    ('served-model-name = ["a", ""]\n', 'q.toml:1: "served-model-name" is empty'),
    ('\nserved-model-name = [\n  "a",  # one\n  ""\n]\n', 'q.toml:2: "served-model-name" is empty'),
    ('device = "a#b"  # c\n', 'q.toml:1: --device: is "a#b"'),
    ('max-batch-tokens = 1_024\nchunked-prefill-size = 32\n', 'q.toml:2: "chunked-prefill-size" is another name of max-batch-tokens, which '),
    ("\nhost = 127.0.0.1\n", "q.toml:2: no TOML: "),
    ("port = 80\nport = 81\n", "q.toml:2: no TOML: "),
    ("threads = { a = 1 }\n", "q.toml:1: expected text in quotes, a number"),
])
def test_a_wrong_line_of_the_toml_file_is_named(quern, tmp_path, text, expected):
    (tmp_path / "q.toml").write_text(text)
    done = subprocess.run([quern, "serve", "--config", tmp_path / "q.toml", "--port-file", tmp_path / "p"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and expected in done.stderr, done.stderr


@pytest.mark.parametrize("value", ["70000", "99999", "-1", "99999999999999999999", "abc"])
def test_a_port_out_of_range_says_the_range(quern, value):
    for flags, environment in [([f"--port={value}"], {}), ([], {"QUERN_PORT": value})]:
        done = subprocess.run([quern, "serve", *flags], capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 2 and "--port: " in done.stderr and "0 " in done.stderr and "65535" in done.stderr, done.stderr


def test_the_log_level_is_taken_in_any_case(quern, tiny_model):
    done = subprocess.run([quern, "serve", "--model-path", tiny_model, "--host", "nowhere.invalid"], capture_output=True, text=True, timeout=60,
                          env={"QUERN_LOG_LEVEL": "INFO"})
    assert "--log-level" not in done.stderr and "nowhere.invalid" in done.stderr, done.stderr


def on_a_terminal(command, until):
    """What the command writes to a terminal, up to `until`; then it is told to stop."""
    master, slave = pty.openpty()
    process = subprocess.Popen(list(map(str, command)), stderr=slave, stdout=subprocess.DEVNULL)
    os.close(slave)
    text = ""
    try:
        while until not in text:
            text += os.read(master, 4096).decode()
    finally:
        process.terminate()
        process.wait(60)
        os.close(master)
    return text


def test_on_a_terminal_it_says_in_plain_words_what_it_serves(quern, tiny_model):
    text = on_a_terminal([quern, "serve", "--model-path", tiny_model, "--port", "0", "--threads", "1", "--dtype", "f32"], '"Hello"')
    port = re.search(r"http://127\.0\.0\.1:(\d+)\b", text).group(1)
    assert int(port) > 0 and "{\"@timestamp" not in text, text
    width = json.loads((tiny_model / "config.json").read_text())["hidden_size"]
    for words in [tiny_model.name, f"width {width}", "f32", "1 thread", "iB of memory", "no API key", f"curl http://127.0.0.1:{port}/v1/embeddings"]:
        assert words in text, text
    text = on_a_terminal([quern, "serve", "--model-path", tiny_model, "--port", "0", "--api-key", "a-secret-key"], '"Hello"')
    assert "no API key" not in text and "API key asked for" in text and "Authorization: Bearer" in text and "a-secret-key" not in text, text


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_no_socket_becomes_a_standard_stream_that_was_closed(quern, tiny_model, tmp_path, closed):
    port_file = tmp_path / "port"
    process = subprocess.Popen(["sh", "-c", f'exec "$0" "$@" {closed}', quern, "serve", "--model-path", tiny_model, "--port", "0", "--port-file", port_file])
    try:
        while not port_file.exists():
            assert process.poll() is None
            time.sleep(0.005)
        url = f"http://127.0.0.1:{int(port_file.read_text())}"
        for number in range(closed.count("&")):
            assert os.readlink(f"/proc/{process.pid}/fd/{2 - number}") == "/dev/null"
        with urllib.request.urlopen(url + "/health", timeout=10) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_a_deadline_that_passes_is_504_and_the_server_goes_on(start):
    server = start("--max-batch-tokens", "64")
    texts = ["words to compute " * 20 + str(number) for number in range(200)]
    with pytest.raises(RequestRefused) as refused:
        server.post("/v1/embeddings", {"input": texts, "timeout_ms": 1})
    assert refused.value.code == 504 and "deadline" in str(refused.value)
    assert len(server.post("/v1/embeddings", {"input": texts, "timeout_ms": 600_000})["data"]) == len(texts)
    assert server.metric("quern_calls_live") == 0


RANGE = re.compile(r"^  --([a-z-]+)[a-z,-]* (?:U?INT|FLOAT):(?:U?INT|FLOAT|POSITIVE)?[^\n]*? in \[(\S+) - (\S+)\]", re.M)
COMMANDS = ["serve", "embed", "tokenize", "verify", "bench"]


def numeric_flags(quern, command):
    """The flags of `--help` that take a number: (name, least, most)."""
    text = subprocess.run([quern, command, "--help"], capture_output=True, text=True, check=True).stdout
    ranged = [(name, float(low), float(high)) for name, low, high in RANGE.findall(text)]
    numbers = re.findall(r"^  --([a-z-]+)[a-z,-]* (?:U?INT|FLOAT)\b", text, re.M)
    assert {name for name, _, _ in ranged} == set(numbers), "a number without a range"
    return ranged


def test_every_number_has_a_range_and_says_it(quern, tmp_path):
    assert len(numeric_flags(quern, "serve")) >= 20 and not numeric_flags(quern, "tokenize")
    for command in COMMANDS:
        for name, low, high in numeric_flags(quern, command):
            config = tmp_path / "q.toml"
            for value in [f"{low - 1:.0f}", f"{high * 2 + 1:.0f}", "-99999999999999999999", "99999999999999999999", "abc", "12abc", "1e", " "]:
                config.write_text(f'\n{name} = "{value}"\n')
                variable = "QUERN_" + name.upper().replace("-", "_")
                named = [f"--{name}={value}"]
                if (command, name, value) == ("serve", "context-length", "-1"):
                    named = ["--context-length=-2"]  # vLLM's -1 is the model's own limit
                for flags, environment, place in [(named, {}, ""), ([], {variable: value}, variable + ": "),
                                                  (["--config", config], {}, f"{config}:2: ")]:
                    done = subprocess.run([quern, command, *flags], capture_output=True, text=True, timeout=60, env=environment)
                    said = re.search(rf"^quern {command}: {re.escape(str(place))}--{name}: .* not in range (\S+) to (\S+)$", done.stderr, re.M)
                    assert done.returncode == 2 and said, (name, value, done.stderr)
                    assert (float(said.group(1)), float(said.group(2))) == (low, high), (name, said.group(0))


def test_every_flag_with_a_value_refuses_an_empty_one(quern, tmp_path):
    for command in COMMANDS:
        text = subprocess.run([quern, command, "--help"], capture_output=True, text=True, check=True).stdout
        names = re.findall(r"^  (?:-\w,)?--([a-z-]+)[a-z,-]* [A-Z]+\b", text, re.M)
        assert {"model-path", "revision"} <= set(names), text
        for name in names:
            for flags in [[f"--{name}", ""], [f"--{name}="]]:
                done = subprocess.run([quern, command, *flags], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
                assert done.returncode == 2 and f"--{name}: is empty; leave the flag out" in done.stderr, (command, flags, done.stderr)
            if name != "config":
                (tmp_path / "q.toml").write_text(f'# one\n{name} = ""\n')
                done = subprocess.run([quern, command, "--config", tmp_path / "q.toml"], capture_output=True, text=True, timeout=60,
                                      stdin=subprocess.DEVNULL)
                assert done.returncode == 2 and f'q.toml:2: "{name}" is empty' in done.stderr, (name, done.stderr)


@pytest.mark.parametrize("tokens", [1, 15, 1025])
def test_steps_for_queries_are_within_the_steps(quern, tiny_model, tokens):
    done = subprocess.run([quern, "serve", "--model-path", tiny_model, "--port", "0", "--max-query-batch-tokens", str(tokens),
                           "--device", "cpu"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert f"--max-query-batch-tokens: is {tokens}; allowed: 0, or 16 to --max-batch-tokens, 1024" in done.stderr


def test_what_stands_behind_two_dashes_is_no_flag(quern, tiny_model):
    done = subprocess.run([quern, "tokenize", "--model-path", tiny_model, "--", "--revision="], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "tokens" in done.stdout, done.stderr


@pytest.mark.parametrize("command", ["verify", "bench", "serve"])
def test_small_steps_need_room_for_each_kind(quern, tiny_model, command):
    done = subprocess.run([quern, command, "--model-path", tiny_model, "--device", "cpu", "--max-batch-inputs", "2", "--max-query-batch-tokens", "64"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--max-batch-inputs: is 2; allowed: at least 3 with --max-query-batch-tokens" in done.stderr, done.stderr


@pytest.mark.parametrize("value, expected", [("true", None), ("Yes", None), ("0", None), ("maybe", "maybe not in {true,"), ("2", "2 not in {true,")])
def test_a_switch_in_the_environment_is_one_of_a_few_words(quern, tiny_model, value, expected):
    done = subprocess.run([quern, "serve", "--model-path", tiny_model, "--host", "nowhere.invalid"], capture_output=True, text=True, timeout=60,
                          env={"QUERN_SKIP_CHECK": value})
    assert (f"QUERN_SKIP_CHECK: --skip-check: {expected}" if expected else "nowhere.invalid") in done.stderr, done.stderr
