import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def quern():
    return ROOT / os.environ.get("QUERN_BUILD_DIR", "build/release") / "quern"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A random model with a real tokenizer: small enough to load in milliseconds."""
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([sys.executable, ROOT / "tools" / "make_model.py", "--preset", "tiny", folder], check=True)
    return folder
