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
    ("[server]\nport = 80\n", 'unknown section "server"; keys stand outside of sections'),
    ("port = 70000\n", "--port: Value 70000 not in range"),
    ('log-level = "loud"\n', "--log-level: loud not in {"),
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
