"""Every folder of cases.py, through the binary: the reference's vectors, or a refusal that names what is wrong.

The reference's vectors are stored (reference.npz; `./dev golden folders` makes them again), so no torch is needed here.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
import folders  # noqa: E402
import table  # noqa: E402
from cases import CASES, NO_TEMPLATE  # noqa: E402, F401

BINARY = ROOT / os.environ.get("QUERN_BUILD_DIR", "build/release") / "quern"
REFERENCE = json.loads((HERE / "reference.json").read_text())["cases"]
COSINE_MIN = 1 - 1e-6
KEYS = [f"{case.file}: {case.name}" for case in CASES]


def run(folder, *flags):
    """Exit code, stderr and vectors of `quern embed` over the texts. --truncate: encode() cuts long inputs too."""
    texts, output = folder.parent / "texts.txt", folder.parent / "vectors.npy"
    texts.write_text("\n".join(folders.TEXTS) + "\n")
    done = subprocess.run(
        [BINARY, "embed", "--model-path", folder, "--dtype", "f32", "--threads", "1", "--truncate", "--skip-check",
         "--max-batch-tokens", "256", "--overwrite", "-i", texts, "-o", output, *flags], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr, np.load(output) if done.returncode == 0 else None


@pytest.fixture(scope="session")
def answers(tmp_path_factory):
    """All folders, two at a time: {key: (exit code, stderr, vectors)}; the folders do not stay."""
    def answer(key, case):
        work = tmp_path_factory.mktemp("folder")
        folders.build(work / "folder", **case.base)
        case.change(work / "folder")
        result = run(work / "folder", *case.flags)
        shutil.rmtree(work)
        return key, result
    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(answer, KEYS, CASES))


@pytest.fixture(scope="session")
def stored():
    return np.load(HERE / "reference.npz")


def cosine(ours, theirs):
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours.astype(float) * theirs.astype(float)).sum(axis=1) / norms).min())


@pytest.mark.parametrize("key, case", list(zip(KEYS, CASES)), ids=KEYS)
def test_folder(key, case, answers, stored):
    code, stderr, vectors = answers[key]
    if case.outcome == "equal":
        assert code == 0, stderr
        theirs = stored[str(REFERENCE[key]["vectors"])]
        assert cosine(vectors, theirs) >= COSINE_MIN
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    else:
        assert code == 2, stderr
        assert case.field in stderr, f"the message does not name {case.field}: {stderr}"
        assert case.file in stderr or case.flags or "tensor \"" in stderr, stderr
        assert stderr.count("\n") == 1, stderr


def test_every_case_was_asked():
    assert len(set(KEYS)) == len(KEYS)
    assert set(KEYS) == set(REFERENCE), "cases.py and reference.json differ: run ./dev golden folders"


def test_equal_cases_could_fail(stored):
    """The texts tell the changes apart: of the folders that are refused, the reference's own vectors differ from the
    base's wherever it loads them, but for those whose note says why not."""
    base = stored[str(REFERENCE["the base: base base"]["vectors"])]
    same = [key for key, case in zip(KEYS, CASES) if case.outcome == "refused" and not case.note and not case.base
            and "vectors" in REFERENCE[key] and stored[str(REFERENCE[key]["vectors"])].shape == base.shape
            and cosine(base, stored[str(REFERENCE[key]["vectors"])]) >= COSINE_MIN]
    assert same == []


def test_document():
    assert (ROOT / "docs" / "model-folders.md").read_text() == table.document(), \
        "run: .venv/bin/python tests/model_folders/table.py"
