"""`quern embed`: the vectors are the same whatever the format and however often it was killed."""
import json
import random
import signal
import subprocess
import time

import numpy as np
import pytest

LINES = 600


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    draw = random.Random(5)
    words = "the quick brown fox 北京 是 中国 的 首都 def return vector ночь улица 🙂 naïve".split()
    lines = [" ".join(draw.choices(words, k=draw.randint(0, 60))) for _ in range(LINES)]
    path = tmp_path_factory.mktemp("texts") / "in.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(quern, *arguments, **options):
    return subprocess.run([quern, "embed", *map(str, arguments)], capture_output=True, timeout=300, **options)


@pytest.fixture(scope="module")
def whole(quern, tiny_model, texts, tmp_path_factory):
    """The vectors of one uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "out.npy"
    done = run(quern, "--model-path", tiny_model, "-i", texts, "-o", output)
    assert done.returncode == 0, done.stderr.decode()
    vectors = np.load(output)
    assert vectors.shape[0] == LINES
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    return vectors


def test_jsonl_equals_npy(quern, tiny_model, texts, tmp_path, whole):
    output = tmp_path / "out.jsonl"
    assert run(quern, "--model-path", tiny_model, "-i", texts, "-o", output).returncode == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(LINES))
    assert np.array_equal(np.array([row["embedding"] for row in rows], dtype=np.float32), whole)


def test_stdin_to_stdout_keeps_ids(quern, tiny_model):
    lines = "".join(json.dumps({"id": f"doc-{n}", "text": f"text number {n}"}) + "\n" for n in range(5))
    done = run(quern, "--model-path", tiny_model, "--input-format", "jsonl", "--dimensions", 32, input=lines.encode())
    assert done.returncode == 0, done.stderr.decode()
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == [f"doc-{n}" for n in range(5)]
    assert all(len(row["embedding"]) == 32 and abs(np.linalg.norm(row["embedding"]) - 1) < 1e-5 for row in rows)


@pytest.mark.parametrize("name", ["out.npy", "out.jsonl"])
def test_kill_9_loses_and_repeats_nothing(quern, tiny_model, texts, tmp_path, whole, name):
    output = tmp_path / name
    kills = 0
    for attempt in range(60):
        process = subprocess.Popen([quern, "embed", "--model-path", tiny_model, "-i", texts, "-o", output],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.wait(timeout=0.02 * (attempt + 1) if attempt < 25 else 120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        errors = process.stderr.read().decode()
        # The one before may have been killed with its work done: then there is nothing to continue.
        assert process.returncode == 0 or (kills > 0 and process.returncode == 2 and "exists and is complete" in errors), errors
        break
    assert kills > 0, "never killed: the input is too small for this machine"
    if name.endswith(".npy"):
        vectors = np.load(output)
    else:
        vectors = np.array([json.loads(line)["embedding"] for line in output.read_text().splitlines()], dtype=np.float32)
    assert np.array_equal(vectors, whole)


def test_refuses_to_overwrite_a_complete_file(quern, tiny_model, texts, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("precious\n")
    done = run(quern, "--model-path", tiny_model, "-i", texts, "-o", output)
    assert done.returncode == 2 and b"--overwrite" in done.stderr
    assert output.read_text() == "precious\n"


def test_bad_line_is_named_and_earlier_lines_are_kept(quern, tiny_model, tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text":"good"}\n{"text":7}\n')
    done = run(quern, "--model-path", tiny_model, "-i", source, "-o", output)
    assert done.returncode == 2 and b"in.jsonl:2" in done.stderr, done.stderr
    source.write_text('{"text":"good"}\n{"text":"better"}\n')
    assert run(quern, "--model-path", tiny_model, "-i", source, "-o", output).returncode == 0
    assert len(output.read_text().splitlines()) == 2


def test_full_disk_is_an_error_not_a_loss(quern, tiny_model, texts):
    done = run(quern, "--model-path", tiny_model, "-i", texts, "-o", "/dev/full", "--output-format", "jsonl", "--overwrite")
    assert done.returncode != 0 and b"No space left" in done.stderr, done.stderr
