"""`quern embed`: the vectors are the same whatever the format and however often it was killed."""
import json
import os
import random
import shutil
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


@pytest.mark.parametrize("name", ["out.npy", "out.jsonl"])
def test_run_again_a_complete_output_is_said(quern, tiny_model, tmp_path, name):
    source, output = tmp_path / "in.txt", tmp_path / name
    source.write_text("a\nb\n")
    command = ["--model-path", tiny_model, "-i", source, "-o", output]
    assert run(quern, *command).returncode == 0
    before = output.read_bytes()
    done = run(quern, *command)
    assert done.returncode == 0 and b"is complete already" in done.stderr, done.stderr
    done = run(quern, *command, "--dimensions", 32)
    assert done.returncode == 2 and b"made with other settings" in done.stderr, done.stderr
    source.write_text("a\nc\n")
    done = run(quern, *command)
    assert done.returncode == 2 and b"it or its input has changed" in done.stderr, done.stderr
    assert output.read_bytes() == before
    assert run(quern, *command, "--overwrite").returncode == 0 and output.read_bytes() != before


def test_an_input_that_changed_under_a_half_done_output_is_refused(quern, tiny_model, tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    command = ["--model-path", tiny_model, "-i", source, "-o", output]
    source.write_text('{"text":"good"}\n{"text":7}\n')
    assert run(quern, *command).returncode == 2
    before = output.read_bytes()
    assert len(before.splitlines()) == 1
    source.write_text('{"text":"evil"}\n{"text":"better"}\n')
    done = run(quern, *command)
    assert done.returncode == 2 and b"--input: the first 1 texts are not those" in done.stderr, done.stderr
    assert output.read_bytes() == before and not (tmp_path / "out.jsonl.done").exists()


@pytest.mark.parametrize("side", ["done", "progress"])
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_file_of_somebody_else_beside_the_output_is_refused_by_name(quern, tiny_model, tmp_path, side, flags):
    source, output, foreign = tmp_path / "in.txt", tmp_path / "out.npy", tmp_path / f"out.npy.{side}"
    source.write_text("a\n")
    foreign.write_text("precious")
    done = run(quern, "--model-path", tiny_model, "-i", source, "-o", output, *flags)
    assert done.returncode == 2 and f"out.npy.{side} was not written by quern embed" in done.stderr.decode(), done.stderr
    assert foreign.read_text() == "precious" and not output.exists()


def test_a_complete_output_needs_no_weights_and_another_device_is_refused(quern, tiny_model, tmp_path):
    model, source, output = tmp_path / "model", tmp_path / "in.txt", tmp_path / "out.npy"
    shutil.copytree(tiny_model, model)
    source.write_text("a\nb\n")
    command = ["--model-path", model, "-i", source, "-o", output]
    assert run(quern, *command, "--device", "cpu").returncode == 0
    for weights in model.glob("*.safetensors"):
        weights.write_bytes(b"not weights")
    done = run(quern, *command, "--device", "cpu")
    assert done.returncode == 0 and b"is complete already" in done.stderr, done.stderr
    side = tmp_path / "out.npy.done"
    assert " device=cpu (" in side.read_text()
    side.write_text(side.read_text().replace(" device=cpu (", " device=cuda ("))
    done = run(quern, *command, "--device", "cpu")
    assert done.returncode == 2 and b"made with other settings" in done.stderr, done.stderr


@pytest.mark.parametrize("closed, expected", [("1>&-", "cannot write stdout: Bad file descriptor"), ("0<&-", "cannot read stdin: Bad file descriptor")])
def test_a_stream_that_was_closed_is_an_error(quern, tiny_model, closed, expected):
    done = subprocess.run(["sh", "-c", f'exec "$0" "$@" {closed}', quern, "embed", "--model-path", tiny_model], input=b"one\ntwo\n",
                          capture_output=True, timeout=60)
    assert done.returncode == 1 and expected in done.stderr.decode() and not done.stdout, done.stderr


def test_a_file_that_cannot_be_read_has_not_ended(quern, tiny_model, tmp_path):
    done = run(quern, "--model-path", tiny_model, "-i", "/proc/self/mem", "--input-format", "text", "-o", tmp_path / "out.npy")
    assert done.returncode == 1 and b"cannot read /proc/self/mem: Input/output error" in done.stderr, done.stderr


SETTINGS = [
    (["--input-format", "text"], "input-format=text"),
    (["--output-format", "npy"], "output-format=npy"),
    (["--quantization", "fp8"], "--quantization: fp8 is computed on a GPU alone"),
    (["--dtype", "bf16"], "dtype=bf16"),
    (["--dtype", "auto"], "dtype=auto (bf16 as "),
    (["--dimensions", "32"], "dimensions=32"),
    (["--context-length", "64"], "context-length=64"),
    (["--truncate"], "truncate=1"),
    (["--append-eos"], "append-eos=1"),
    (["--instruction", "Find"], "instruction=Find"),
]


@pytest.mark.parametrize("complete", [False, True], ids=["begun", "complete"])
def test_an_output_is_continued_only_under_what_it_was_begun_with(quern, tiny_model, tmp_path, complete):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b'{"text":"good"}\n' + (b'{"text":"better"}\n' if complete else b'{"text":"na\xefve"}\n'))
    command = ["--model-path", tiny_model, "-i", source, "-o", output, "--device", "cpu", "--dtype", "f32"]
    assert run(quern, *command).returncode == (0 if complete else 2)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    side = kept["out.jsonl.done" if complete else "out.jsonl.progress"]
    for setting in [b" dtype=f32 ", b" quantization=none ", b" input-format=jsonl ", b" output-format=jsonl\n"]:
        assert setting in side
    for flags, expected in SETTINGS:
        base = command[:-2] if flags[0] == "--dtype" else command
        done = run(quern, *base, *flags)
        now = done.stderr.decode().split("; now ")[-1]
        assert done.returncode == 2 and expected in now and (now.startswith("model=") or expected.startswith("--")), done.stderr
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept, flags
    # The same, said in other words.
    done = run(quern, *command[:-1], "float32", "--input-format", "jsonl", "--output-format", "jsonl", "--quantization", "none")
    assert b"is complete already" in done.stderr if complete else b"in.jsonl:2: not UTF-8" in done.stderr, done.stderr
    assert output.read_bytes() == kept["out.jsonl"]


def test_an_output_is_not_continued_where_auto_is_another_dtype(quern, tiny_model, tmp_path):
    (tmp_path / "in.txt").write_text("a\n")
    command = ["--model-path", tiny_model, "-i", "in.txt", "--device", "cpu", "-o"]
    plain = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    for name, env in [("native.npy", None), ("plain.npy", plain)]:
        assert run(quern, *command, name, cwd=tmp_path, env=env).returncode == 0
    assert " dtype=auto (bf16 as f32) " in (tmp_path / "plain.npy.done").read_text()
    if " dtype=auto (bf16 as f32) " in (tmp_path / "native.npy.done").read_text():
        pytest.skip("this processor has no products of bf16")
    done = run(quern, *command, "native.npy", cwd=tmp_path, env=plain)
    assert done.returncode == 2 and b"made with other settings" in done.stderr, done.stderr


@pytest.mark.parametrize("source, output", [
    ("in.jsonl", "in.jsonl"), ("in.jsonl", "./in.jsonl"), ("in.jsonl", "link.jsonl"), ("link.jsonl", "in.jsonl"),
    ("in.jsonl", "hard.jsonl"), ("-", "in.jsonl"), ("-", "link.jsonl"),
    ("out.jsonl.done", "out.jsonl"), ("out.jsonl.progress", "out.jsonl"), ("out.jsonl.done.new", "out.jsonl"),
    ("-", "out.jsonl"), ("in.jsonl", "-"),
])
def test_the_input_is_never_written(quern, tiny_model, tmp_path, source, output):
    """A file beside an output that begins as ours do would be overwritten too."""
    lines = b'quern embed\n{"text":"a"}\n'
    kept = tmp_path / ("in.jsonl" if source in ("-", "link.jsonl") else source)
    if source == "-" and output == "out.jsonl":
        kept = tmp_path / "out.jsonl.progress"
    kept.write_bytes(lines)
    if kept.name == "in.jsonl":
        (tmp_path / "link.jsonl").symlink_to(kept)
        (tmp_path / "hard.jsonl").hardlink_to(kept)
    before = sorted(path.name for path in tmp_path.iterdir())
    with open(kept, "rb") as stdin, open(kept if output == "-" else os.devnull, "ab") as stdout:
        done = subprocess.run([quern, "embed", "--model-path", tiny_model, "-i", source, "-o", output, "--input-format", "text",
                               "--overwrite"], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=tmp_path, timeout=60)
    assert done.returncode == 2 and b"quern embed: --output: " in done.stderr and b" is the input, " in done.stderr, done.stderr
    assert kept.read_bytes() == lines and sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_device_may_be_input_and_output(quern, tiny_model):
    done = run(quern, "--model-path", tiny_model, "-i", "/dev/null", "-o", "/dev/null", "--input-format", "text",
               "--output-format", "jsonl")
    assert done.returncode == 2 and b"/dev/null holds no text" in done.stderr, done.stderr


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


@pytest.mark.parametrize("rows_before", [0, 1, 2], ids=["anew", "begun", "complete"])
@pytest.mark.parametrize("fault, expected", [
    ("0<&-", "cannot read stdin: Bad file descriptor"),
    ("0<.", "cannot read stdin: Is a directory"),
    ("link", "cannot read link.txt: Input/output error"),
])
def test_an_input_that_cannot_be_read_has_not_changed(quern, tiny_model, tmp_path, fault, expected, rows_before):
    source, link, output = tmp_path / "in.txt", tmp_path / "link.txt", tmp_path / "out.jsonl"
    command = [quern, "embed", "--model-path", tiny_model, "-o", output, "-i", "link.txt" if fault == "link" else "-"]
    if rows_before:
        source.write_bytes(b"good\n" + (b"na\xefve\n" if rows_before == 1 else b"better\n"))
        link.symlink_to(source)
        with open(source, "rb") as stdin:
            done = subprocess.run(command, stdin=stdin, stderr=subprocess.DEVNULL, cwd=tmp_path)
        assert done.returncode == (2 if rows_before == 1 else 0)
        link.unlink()
    kept = output.read_bytes() if rows_before else b""
    assert len(kept.splitlines()) == rows_before
    link.symlink_to("/proc/self/mem")
    redirect = "" if fault == "link" else fault
    done = subprocess.run(["bash", "-c", f'exec "$0" "$@" {redirect}', *command], capture_output=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 1 and expected in done.stderr.decode() and b"--overwrite" not in done.stderr, done.stderr
    assert (output.read_bytes() if output.exists() else b"") == kept


@pytest.mark.parametrize("name, folder", [("no/such/x.jsonl", "no/such"), ("in.txt/x.jsonl", "in.txt")])
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_an_output_without_a_folder_is_refused_before_the_weights_are_read(quern, tiny_model, tmp_path, name, folder, flags):
    shutil.copytree(tiny_model, tmp_path / "model")
    for weights in (tmp_path / "model").glob("*.safetensors"):
        weights.write_bytes(b"not weights")
    (tmp_path / "in.txt").write_text("a\n")
    done = run(quern, "--model-path", "model", "-i", "in.txt", "-o", name, *flags, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"quern embed: --output: {name}: there is no folder {folder}; make it" in done.stderr.decode(), done.stderr
    assert not (tmp_path / "no").exists()


def test_an_output_in_a_folder_that_is_read_only(quern, tiny_model, tmp_path):
    """Refused by name, unless the output is complete and nothing is to be written."""
    # root may write everywhere, but for a program that is started without that right.
    drop = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    if drop and shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv")
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "in.txt").write_text("a\n")
    command = [*drop, quern, "embed", "--model-path", tiny_model, "-i", tmp_path / "in.txt", "-o"]
    assert subprocess.run([*command, folder / "x.npy"], stderr=subprocess.DEVNULL).returncode == 0
    folder.chmod(0o555)
    done = subprocess.run([*command, folder / "x.npy"], capture_output=True)
    assert done.returncode == 0 and b"is complete already" in done.stderr, done.stderr
    for arguments in [[folder / "x.npy", "--overwrite"], [folder / "y.npy"]]:
        done = subprocess.run([*command, *arguments], capture_output=True)
        assert done.returncode == 2 and b"quern embed: --output: cannot write in the folder of " in done.stderr, done.stderr
    assert np.load(folder / "x.npy").shape[0] == 1


@pytest.mark.parametrize("dtype", ["F32", "f32", "Float32"])
def test_capitals_name_the_same_dtype(quern, tiny_model, texts, tmp_path, dtype):
    done = run(quern, "--model-path", tiny_model, "-i", texts, "-o", tmp_path / "out.npy", "--dtype", dtype, "--quantization", "None")
    assert done.returncode == 0, done.stderr
    settings = (tmp_path / "out.npy.done").read_text()
    assert "f32" in settings and "auto" not in settings and "F32" not in settings, settings
