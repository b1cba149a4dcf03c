"""`quern embed` on an output that is there: continued, complete, somebody else's, or the input itself."""
import os
import shutil
import subprocess

import numpy as np
import pytest

from embed_run import run


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
