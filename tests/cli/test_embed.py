"""`quern embed`: the vectors are the same whatever the format and however often it was killed; what it reads and writes."""
import json
import random
import signal
import subprocess

import numpy as np
import pytest

from embed_run import run

LINES = 600


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    draw = random.Random(5)
    words = "the quick brown fox 北京 是 中国 的 首都 def return vector ночь улица 🙂 naïve".split()
    lines = [" ".join(draw.choices(words, k=draw.randint(0, 60))) for _ in range(LINES)]
    path = tmp_path_factory.mktemp("texts") / "in.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


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
        assert process.returncode == 0, errors
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


@pytest.mark.parametrize("data, expected", [
    (b"one\ntwo\n", ["one", "two"]),
    (b"\xef\xbb\xbfone\r\ntwo", ["one", "two"]),
    (b"one\n\ntwo\n", ["one", "", "two"]),
])
def test_text_files_as_people_have_them(quern, tiny_model, tmp_path, data, expected):
    (tmp_path / "in.txt").write_bytes(data)
    (tmp_path / "plain.txt").write_text("".join(text + "\n" for text in expected))
    vectors = []
    for name in ["in", "plain"]:
        done = run(quern, "--model-path", tiny_model, "-i", tmp_path / f"{name}.txt", "-o", tmp_path / f"{name}.npy")
        assert done.returncode == 0 and f"{len(expected)} texts, ".encode() in done.stderr, done.stderr
        vectors.append(np.load(tmp_path / f"{name}.npy"))
    assert vectors[0].shape[0] == len(expected) and np.array_equal(*vectors)


def test_blank_lines_between_json_lines_are_passed_over(quern, tiny_model, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"text":"a","id":1}\r\n\r\n  \n{"text":"b","id":2}\n\n')
    output = tmp_path / "out.jsonl"
    assert run(quern, "--model-path", tiny_model, "-i", tmp_path / "in.jsonl", "-o", output).returncode == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["index"], row["id"]) for row in rows] == [(0, 1), (1, 2)]


@pytest.mark.parametrize("name, data, expected", [
    ("in.txt", b"good\nna\xefve\n", "in.txt:2: not UTF-8 at byte 3"),
    ("in.txt", b"good\nb\0d\n", "in.txt:2: a NUL byte at byte 2"),
    ("in.txt", "text\n".encode("utf-16"), "in.txt:1: in UTF-16"),
    ("in.txt", b"", "in.txt holds no text"),
    ("in.jsonl", b"\n\n", "in.jsonl holds no text"),
    ("in.jsonl", b'{"text":"a"}\n{"text":""}\n', "in.jsonl:2: the text is empty"),
    ("in.jsonl", b'["a","b"]\n', "in.jsonl:1: a JSON array"),
    ("in.jsonl", b'{"text":"a"}\n{"text":"cut \\ud83d"}\n', "in.jsonl:2: the line holds half of a surrogate pair"),
    ("in.jsonl", b'{"text":"a"}\n{"text":"b"\n', "in.jsonl:2: the line is not valid JSON: expected ',' or '}' at byte 11, found the end"),
    ("in.json", b'["a","b"]\n', "in.json: files that end in .json are not read"),
    ("in.CSV", b"text\na\n", "to_json('texts.jsonl'"),
    ("in.parquet", b"PAR1", "read_parquet("),
    ("in.md", b"a\n", "files that end in .md are not read; allowed: .txt"),
    ("", None, ": expected a file, found a folder"),
])
def test_an_input_that_is_not_read_is_refused_by_name(quern, tiny_model, tmp_path, name, data, expected):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    done = run(quern, "--model-path", tiny_model, "-i", tmp_path / name, "-o", tmp_path / "out.npy")
    assert done.returncode == 2 and expected in done.stderr.decode(), done.stderr


@pytest.mark.parametrize("flags, expected", [
    (["-o", "out.parquet"], "--output: out.parquet: files that end in .parquet are not written"),
    (["-o", "."], ": expected a file, found a folder"),
    (["--dimensions", "31"], "--dimensions: is 31; allowed: 32 to "),
    (["--dimensions", "99999"], "--dimensions: is 99999; allowed: 32 to "),
])
def test_an_output_that_is_not_written_is_refused_by_name(quern, tiny_model, tmp_path, flags, expected):
    (tmp_path / "in.txt").write_text("a\n")
    done = run(quern, "--model-path", tiny_model, "-i", "in.txt", *flags, cwd=tmp_path)
    assert done.returncode == 2 and expected in done.stderr.decode(), done.stderr


@pytest.mark.parametrize("closed, expected", [("1>&-", "cannot write stdout: Bad file descriptor"), ("0<&-", "cannot read stdin: Bad file descriptor")])
def test_a_stream_that_was_closed_is_an_error(quern, tiny_model, closed, expected):
    done = subprocess.run(["sh", "-c", f'exec "$0" "$@" {closed}', quern, "embed", "--model-path", tiny_model], input=b"one\ntwo\n",
                          capture_output=True, timeout=60)
    assert done.returncode == 1 and expected in done.stderr.decode() and not done.stdout, done.stderr


def test_a_file_that_cannot_be_read_has_not_ended(quern, tiny_model, tmp_path):
    done = run(quern, "--model-path", tiny_model, "-i", "/proc/self/mem", "--input-format", "text", "-o", tmp_path / "out.npy")
    assert done.returncode == 1 and b"cannot read /proc/self/mem: Input/output error" in done.stderr, done.stderr


@pytest.mark.parametrize("line, id_json, text", [
    ('{"id":123456789012345678901234567890,"text":"a"}', "123456789012345678901234567890", "a"),
    ('{"text":"a","id":-0.10e+2}', "-0.10e+2", "a"),
    ('{"id" : {"b": [1,\r"\\u00e9\\n"] } , "text":"a"}', '{"b": [1, "\\u00e9\\n"] }', "a"),
    ('{"id":"k\\u00e9","te\\u0078t":"\\u0061\\ud83d\\ude42"}', '"k\\u00e9"', "a🙂"),
    ('{"text":7,"input":"a","id":null}', "null", "a"),
    ('{"input":"b","text":"a"}', None, "a"),
    ('{"other":{"text":"b","id":7},"text":"a"}', None, "a"),
    ('{"id":1,"id":2,"text":"a","text":"b"}', "1", "a"),
])
def test_an_id_is_copied_as_it_stands(quern, tiny_model, tmp_path, line, id_json, text):
    (tmp_path / "in.jsonl").write_text(line, newline="")
    (tmp_path / "in.txt").write_text(text)
    rows = []
    for name in ["in.jsonl", "in.txt"]:
        done = run(quern, "--model-path", tiny_model, "-i", tmp_path / name)
        assert done.returncode == 0, done.stderr
        rows.append(done.stdout.decode())
    member = "" if id_json is None else f'"id":{id_json},'
    assert rows[0] == rows[1].replace('{"index":0,', '{"index":0,' + member)


@pytest.mark.parametrize("line, expected", [
    ('["a","b"]', "in.jsonl:1: a JSON array, expected one object a line"),
    ("[", "in.jsonl:1: a JSON array"),
    ("7", "in.jsonl:1: not a JSON object"),
    ("7 8", "in.jsonl:1: the line is not valid JSON: expected the end at byte 2"),
    ('{"txt":"a"}', 'in.jsonl:1: no string under "text" (or "input")'),
    ('{"text":["a"]}', 'in.jsonl:1: no string under "text" (or "input")'),
    ('{"text":"a","score":NaN}', "in.jsonl:1: the line is not valid JSON: expected a value at byte 20, found 'N'"),
    ('{"text":"a","score":1e999}', "in.jsonl:1: the line holds a number too large, at byte 20"),
    ('{"text":"a"}{"text":"b"}', "in.jsonl:1: the line is not valid JSON: expected the end at byte 12"),
    ('{"text":"a","x":' + "[" * 2000, "in.jsonl:1: the line nests deeper than 1024 levels"),
])
def test_a_line_that_is_no_record_is_told_from_one_that_is_no_json(quern, tiny_model, tmp_path, line, expected):
    (tmp_path / "in.jsonl").write_text(line)
    done = run(quern, "--model-path", tiny_model, "-i", "in.jsonl", cwd=tmp_path)
    assert done.returncode == 2 and expected in done.stderr.decode(), done.stderr


@pytest.mark.parametrize("dtype", ["F32", "f32", "Float32"])
def test_capitals_name_the_same_dtype(quern, tiny_model, texts, tmp_path, dtype):
    done = run(quern, "--model-path", tiny_model, "-i", texts, "-o", tmp_path / "out.npy", "--dtype", dtype, "--quantization", "None")
    assert done.returncode == 0, done.stderr
    settings = (tmp_path / "out.npy.done").read_text()
    assert "f32" in settings and "auto" not in settings and "F32" not in settings, settings
