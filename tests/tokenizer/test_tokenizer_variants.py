"""Each way to write a tokenizer.json gives the reference's ids or is refused by the field's name, as foretold."""

import copy
import json
import pathlib
import subprocess

import pytest

import compare_tokenizers
from tokenizer_inputs import hostile_lines
from tokenizer_variants import variants

MINI = pathlib.Path(__file__).resolve().parents[2] / "models" / "quern-mini" / "tokenizer.json"
EXTRA = ["cafe\u0301 caf\u00e9 <<think>", "e\u0301", "[X] q    \n\n <", "<|endoftext|>", "a<|endoftext|>"]
VARIANTS = list(variants())


@pytest.fixture(scope="module")
def unchanged():
    return json.loads(MINI.read_text())


@pytest.fixture(scope="module")
def texts():
    return [text for text in hostile_lines(9000, seed=6) if len(text) < 2000][::11] + EXTRA


def test_there_are_enough_of_each():
    equal = sum(outcome == "equal" for _, outcome, _ in VARIANTS)
    assert equal >= 45 and len(VARIANTS) - equal >= 30
    assert len({name for name, _, _ in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize("name, outcome, change", VARIANTS, ids=[name for name, _, _ in VARIANTS])
def test_variant(name, outcome, change, unchanged, texts, tmp_path):
    root = copy.deepcopy(unchanged)
    change(root)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(root))
    if outcome == "equal":
        assert compare_tokenizers.first_differences(path, texts, limit=3) == []
        return
    run = subprocess.run([compare_tokenizers.tool_path(), "ids", path, "/dev/null", "/dev/null"], capture_output=True, text=True)
    assert run.returncode == 1, f"loaded, though {outcome} should be refused"
    assert run.stderr.startswith(f"{path}: ") and outcome in run.stderr, run.stderr
    assert run.stderr.count(str(path)) == 1 and len(run.stderr) < 400 + len(str(path)), run.stderr
